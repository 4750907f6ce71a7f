// Results as JSON: written as they come, in order.
#pragma once

#include <cstdio>
#include <string>

namespace nvium::bench {

class Json {
 public:
  Json& begin(const char* key = nullptr, char bracket = '{') {
    name(key);
    text_ += bracket;
    first_ = true;
    return *this;
  }
  Json& end(char bracket = '}') {
    text_ += bracket;
    first_ = false;
    return *this;
  }
  Json& add(const char* key, double value) {
    name(key);
    char digits[40];
    std::snprintf(digits, sizeof digits, "%.9g", value);
    text_ += digits;
    return *this;
  }
  // Strings here are names of shapes and operations: nothing to escape.
  Json& add(const char* key, const std::string& value) {
    name(key);
    text_ += '"' + value + '"';
    return *this;
  }

  bool write(const std::string& file) const {
    std::FILE* out = std::fopen(file.c_str(), "w");
    if (out == nullptr) return false;
    const bool whole = std::fwrite(text_.data(), 1, text_.size(), out) == text_.size();
    return std::fclose(out) == 0 && whole;
  }

 private:
  void name(const char* key) {
    if (!first_) text_ += ',';
    first_ = false;
    if (key != nullptr) text_ += '"' + std::string(key) + "\":";
  }

  std::string text_;
  bool first_ = true;
};

// What follows `name` among the arguments; empty where there is none.
inline std::string option(int argc, char** argv, const char* name) {
  for (int i = 1; i + 1 < argc; i++) {
    if (std::string(argv[i]) == name) return argv[i + 1];
  }
  return "";
}

inline std::string json_file(int argc, char** argv) { return option(argc, argv, "--json"); }

}  // namespace nvium::bench
