"""The dense twin of the 1.5 B shape in plain PyTorch, eager mode, batch 1, bf16: one JSON file.

    python3 bench/gpu/torch_peer.py [--json file] [--quick]

A Llama-like decoder written out: RMSNorm, rotary embedding, scaled_dot_product_attention over a
cache that was allocated beforehand, SwiGLU, a head of its own. Weights are random. A token is drawn
on the device by the Gumbel trick and read by the host, as a program that shows it must.
--quick runs a tiny shape, on the CPU where there is no GPU. Exit status 3: it cannot run here.
"""

import argparse
import json
import statistics
import sys
import time

SHAPE = dict(layers=48, hidden=1536, ffn=4224, heads=12, head_dim=128, vocab=32000)
TINY = dict(layers=2, hidden=64, ffn=128, heads=4, head_dim=16, vocab=300)


def write(path, result):
    print(json.dumps(result), flush=True)
    if path:
        with open(path, "w") as file:
            json.dump(result, file, indent=2)


class Dense:
    def __init__(self, torch, device, layers, hidden, ffn, heads, head_dim, vocab, positions):
        self.torch = torch
        self.heads, self.head_dim = heads, head_dim
        width = heads * head_dim

        def tensor(*sizes):
            return torch.randn(*sizes, device=device, dtype=torch.bfloat16) * 0.03

        def ones():
            return torch.ones(hidden, device=device, dtype=torch.bfloat16)

        def cache():
            return torch.zeros(1, heads, positions, head_dim, device=device, dtype=torch.bfloat16)

        self.embedding = tensor(vocab, hidden)
        self.head = tensor(vocab, hidden)
        self.norm = ones()
        self.layers = [
            dict(
                norm=ones(),
                qkv=tensor(3 * width, hidden),
                output=tensor(hidden, width),
                post_norm=ones(),
                gate=tensor(ffn, hidden),
                up=tensor(ffn, hidden),
                down=tensor(hidden, ffn),
                keys=cache(),
                values=cache(),
            )
            for _ in range(layers)
        ]
        inverse = 10000 ** (-torch.arange(0, head_dim, 2, device=device).float() / head_dim)
        angles = torch.arange(positions, device=device).float()[:, None] * inverse
        angles = torch.cat((angles, angles), dim=1)
        self.cos = angles.cos().to(torch.bfloat16)
        self.sin = angles.sin().to(torch.bfloat16)

    def weights(self):
        yield from (self.embedding, self.head, self.norm)
        for layer in self.layers:
            yield from (tensor for name, tensor in layer.items() if name not in ("keys", "values"))

    def rms(self, x, weight):
        wide = x.float()
        scale = self.torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        return weight * (wide * scale).to(x.dtype)

    def turned(self, x, begin, end):
        low, high = x.chunk(2, dim=-1)
        swapped = self.torch.cat((-high, low), dim=-1)
        return x * self.cos[begin:end] + swapped * self.sin[begin:end]

    def logits(self, tokens, begin):
        """Of the last of `tokens`, which lie at positions from `begin` on."""
        functional = self.torch.nn.functional
        rows, end = tokens.shape[0], begin + tokens.shape[0]
        x = self.embedding[tokens][None]
        for layer in self.layers:
            qkv = functional.linear(self.rms(x, layer["norm"]), layer["qkv"])
            qkv = qkv.view(1, rows, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
            layer["keys"][:, :, begin:end] = self.turned(qkv[1], begin, end)
            layer["values"][:, :, begin:end] = qkv[2]
            attended = functional.scaled_dot_product_attention(
                self.turned(qkv[0], begin, end),
                layer["keys"][:, :, :end],
                layer["values"][:, :, :end],
                is_causal=rows > 1,
            )
            attended = attended.transpose(1, 2).reshape(1, rows, -1)
            x = x + functional.linear(attended, layer["output"])
            z = self.rms(x, layer["post_norm"])
            gate = functional.silu(functional.linear(z, layer["gate"]))
            x = x + functional.linear(gate * functional.linear(z, layer["up"]), layer["down"])
        return functional.linear(self.rms(x[0, -1], self.norm), self.head).float()

    def draw(self, tokens, begin):
        logits = self.logits(tokens, begin)
        noise = -self.torch.empty_like(logits).exponential_().log()
        return (logits + noise).argmax()


def copy_rate(torch, size, wait):
    """Bytes a second, those read and those written."""
    source = torch.randn(size // 4, device="cuda")
    target = torch.empty_like(source)
    times = []
    for _ in range(9):
        wait()
        begin = time.perf_counter()
        target.copy_(source)
        wait()
        times.append(time.perf_counter() - begin)
    return 2 * size / statistics.median(times)


def measure(torch, quick):
    cuda = torch.cuda.is_available()
    wait = torch.cuda.synchronize if cuda else lambda: None
    shape = TINY if quick else SHAPE
    prompt, tokens, rounds = (8, 4, 1) if quick else (127, 64, 20)
    torch.manual_seed(1)
    device = "cuda" if cuda else "cpu"
    model = Dense(torch, device, positions=prompt + tokens + 1, **shape)
    size = sum(tensor.numel() for tensor in model.weights())
    # The embedding is read a row a token.
    read = 2 * (size - model.embedding.numel())
    first = torch.arange(prompt, device=device) * 7919 % shape["vocab"]
    times = []
    for _ in range(rounds + 1):  # the first warms up
        token = model.draw(first, 0)
        wait()
        begin = time.perf_counter()
        for i in range(tokens):
            token = model.draw(token[None], prompt + i)
            token.item()
        times.append((time.perf_counter() - begin) / tokens)
    step = statistics.median(times[1:])
    result = dict(
        finished=True,
        python=sys.version.split()[0],
        torch=torch.__version__,
        cuda=torch.version.cuda,
        device=torch.cuda.get_device_name() if cuda else "cpu",
        mode="eager, batch 1, bf16, cache allocated beforehand",
        shape=shape,
        parameters=size,
        promptTokens=prompt,
        tokens=tokens,
        rounds=rounds,
        tokensPerSecond=1 / step,
        weightMBPerToken=read / 1e6,
    )
    if cuda:
        rate = copy_rate(torch, (1 if quick else 1024) << 20, wait)
        result.update(copyGBps=rate / 1e9, weightsOfCopy=read / step / rate)
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--json")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    try:
        import torch
    except ImportError as error:
        write(arguments.json, dict(missing=f"python3 cannot import torch: {error}"))
        return 3
    if not torch.cuda.is_available() and not arguments.quick:
        write(arguments.json, dict(missing=f"torch {torch.__version__} sees no CUDA device"))
        return 3
    with torch.inference_mode():
        write(arguments.json, measure(torch, arguments.quick))
    return 0


if __name__ == "__main__":
    sys.exit(main())
