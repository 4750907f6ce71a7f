{
  "variables": {
    "core_sources": [
      "native/cpu/avx2.cc",
      "native/cpu/avx512.cc",
      "native/cpu/avx512_bf16.cc",
      "native/cpu/avx512_vnni.cc",
      "native/cpu/avx_vnni.cc",
      "native/cpu/cpu_backend.cc",
      "native/cpu/instruction_sets.cc",
      "native/cpu/memory.cc",
      "native/cpu/neon.cc",
      "native/cpu/neon_dot.cc",
      "native/cpu/portable.cc",
      "native/cpu/self_check.cc",
      "native/cpu/team.cc",
      "native/model/call.cc",
      "native/model/evaluate.cc",
      "native/model/exit.cc",
      "native/model/files.cc",
      "native/model/model.cc",
      "native/model/quantise.cc",
      "native/model/segment.cc",
      "native/model/step.cc",
      "native/model/stored.cc",
      "native/model/weights.cc"
    ],
    "binding_sources": [
      "native/binding/addon.cc",
      "native/binding/job.cc",
      "native/binding/job_thread.cc",
      "native/binding/model_object.cc",
      "native/binding/values.cc",
      "native/devices.cc",
      "native/engine.cc"
    ],
    "cuda_sources": [
      "cuda/attend.cu",
      "cuda/cuda_backend.cc",
      "cuda/draw.cu",
      "cuda/panel.cu",
      "cuda/project.cu",
      "cuda/query.cc",
      "cuda/self_check.cc",
      "cuda/table.cu"
    ]
  }
}
