#include "symbols.h"

#include <dlfcn.h>
#include <link.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <filesystem>
#include <map>
#include <source_location>

extern char** environ;

namespace simt {

namespace {

using Frames = std::vector<SourceLine>;  // innermost first

struct Module {
  std::string path;
  uintptr_t base = 0;
};

bool in_code(const void* p) {
  struct Query {
    uintptr_t address;
    bool found;
  } query{reinterpret_cast<uintptr_t>(p), false};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* q) {
        auto& query = *static_cast<Query*>(q);
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& segment = info->dlpi_phdr[i];
          if (segment.p_type == PT_LOAD && (segment.p_flags & PF_X) &&
              query.address - (info->dlpi_addr + segment.p_vaddr) < segment.p_memsz)
            query.found = true;
        }
        return int(query.found);
      },
      &query);
  return query.found;
}

Module module_of(const void* p) {
  Dl_info info{};
  link_map* map = nullptr;
  if (!dladdr1(p, &info, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP) || !map) return {};
  const bool main_program = map->l_name[0] == '\0';
  return {main_program ? "/proc/self/exe" : info.dli_fname, map->l_addr};
}

std::string output_of(const std::vector<std::string>& command) {
  int ends[2];
  if (pipe(ends) != 0) return {};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addclose(&actions, ends[0]);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", 1 /* O_WRONLY */, 0);
  std::vector<char*> arguments;
  for (const auto& part : command) arguments.push_back(const_cast<char*>(part.c_str()));
  arguments.push_back(nullptr);
  pid_t child = -1;
  const int failed =
      posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  std::string text;
  std::array<char, 4096> part;
  for (ssize_t n; !failed && (n = read(ends[0], part.data(), part.size())) > 0;)
    text.append(part.data(), size_t(n));
  close(ends[0]);
  if (!failed) waitpid(child, nullptr, 0);
  return text;
}

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::string short_function(std::string name) {
  for (const char* noise : {"(anonymous namespace)::", "void ", "__global__ "})
    for (size_t at; (at = name.find(noise)) != std::string::npos;)
      name.erase(at, std::strlen(noise));
  int depth = 0;  // cut the parameters, but not those inside template arguments
  for (size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '<') ++depth;
    if (name[i] == '>') --depth;
    if (name[i] == '(' && depth == 0) return name.substr(0, i);
  }
  return name;
}

std::map<const void*, Frames>& cache() {
  static auto& instance = *new std::map<const void*, Frames>;
  return instance;
}

// addr2line -a prints each address, then a function and a "file:line" for each inlined frame.
void parse(const std::string& text, const std::vector<const void*>& addresses) {
  size_t index = 0;
  Frames* frames = nullptr;
  std::string function;
  bool expect_line = false;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    if (!expect_line && line.starts_with("0x") && index < addresses.size()) {
      frames = &cache()[addresses[index++]];
    } else if (!expect_line) {
      function = line;
      expect_line = true;
    } else {
      expect_line = false;
      const size_t colon = line.rfind(':');
      if (frames)
        frames->push_back({std::filesystem::path(line.substr(0, colon)).lexically_normal(),
                           unsigned(std::atoi(line.c_str() + colon + 1)),
                           short_function(function)});
    }
  }
}

bool belongs_to_program(const std::string& file) {
  if (file.empty() || file[0] == '?') return false;
  for (const char* part : {"/simt/include/simt/", "/test/simt/src/", "/cuda/dialect.cuh",
                           "/targets/x86_64-linux/include/", "/include/c++/", "/usr/include/"})
    if (file.find(part) != std::string::npos) return false;
  return true;
}

}  // namespace

void look_up(std::span<const void* const> sites) {
  std::map<std::string, std::vector<const void*>> by_module;
  std::map<std::string, uintptr_t> bases;
  for (const void* site : sites) {
    if (!site || cache().contains(site)) continue;
    Frames& frames = cache()[site];
    if (!in_code(site)) {
      const auto place = std::bit_cast<std::source_location>(site);
      frames.push_back(
          {place.file_name(), unsigned(place.line()), short_function(place.function_name())});
      continue;
    }
    const Module module = module_of(site);
    bases[module.path] = module.base;
    by_module[module.path].push_back(site);
  }
  for (const auto& [path, addresses] : by_module) {
    const std::string file =
        path == "/proc/self/exe" ? "/proc/" + std::to_string(getpid()) + "/exe" : path;
    std::vector<std::string> command{"addr2line", "-a", "-i", "-f", "-C", "-e", file};
    for (const void* address : addresses) {
      char text[32];  // one byte back: a return address may belong to the next line
      std::snprintf(text, sizeof text, "%#zx",
                    size_t(reinterpret_cast<uintptr_t>(address) - bases[path] - 1));
      command.push_back(text);
    }
    parse(output_of(command), addresses);
  }
}

SourceLine source_line(std::span<const void* const> trail) {
  look_up(trail);
  const SourceLine* fallback = nullptr;
  for (const void* site : trail)
    for (const SourceLine& frame : cache()[site]) {
      if (belongs_to_program(frame.file)) {
        SourceLine result = frame;
        result.file = base_name(result.file);
        return result;
      }
      if (!fallback) fallback = &frame;
    }
  return fallback ? SourceLine{base_name(fallback->file), fallback->line, fallback->function}
                  : SourceLine{"?", 0, "?"};
}

bool in_program(const void* site) {
  look_up({&site, 1});
  const Frames& frames = cache()[site];
  return std::any_of(frames.begin(), frames.end(),
                     [](const SourceLine& f) { return belongs_to_program(f.file); });
}

std::string kernel_name(const void* kernel) {
  if (!kernel) return "";
  // Past the first byte, since look_up goes one back.
  const void* inside = static_cast<const char*>(kernel) + 1;
  look_up({&inside, 1});
  const Frames& frames = cache()[inside];
  return frames.empty() ? "?" : frames.back().function;
}

}  // namespace simt
