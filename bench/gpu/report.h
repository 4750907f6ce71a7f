// Figures in tables, printed and written as they come: the file is whole at every moment.
#pragma once

#include <concepts>
#include <cstdio>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace nvium::bench {

// An object of JSON, in the order it was filled.
class Row {
 public:
  Row& add(const std::string& key, std::same_as<bool> auto value) {
    return put(key, value ? "true" : "false");
  }
  template <class Number>
    requires(std::is_arithmetic_v<Number> && !std::same_as<Number, bool>)
  Row& add(const std::string& key, Number number) {
    const double value = double(number);
    char digits[40];
    std::snprintf(digits, sizeof digits, "%.9g", value);
    // Neither infinities nor NaN are JSON.
    return put(key, value - value == 0 ? digits : "null");
  }
  Row& add(const std::string& key, const std::string& value) {
    std::string text = "\"";
    for (const char c : value) {
      if (c == '"' || c == '\\') text += '\\';
      if (static_cast<unsigned char>(c) >= ' ') text += c;
    }
    return put(key, text + '"');
  }

  std::string text() const { return "{" + members_ + "}"; }

 private:
  Row& put(const std::string& key, const std::string& value) {
    members_ += (members_.empty() ? "\"" : ", \"") + key + "\": " + value;
    return *this;
  }

  std::string members_;
};

// Under another name first: whoever looks finds the old file or the new one. No name: nowhere.
inline void write_file(const std::string& file, const std::string& text) {
  if (file.empty()) return;
  const std::string fresh = file + ".new";
  std::FILE* out = std::fopen(fresh.c_str(), "w");
  if (out == nullptr) return;
  std::fputs(text.c_str(), out);
  if (std::fclose(out) == 0) std::rename(fresh.c_str(), file.c_str());
}

class Report {
 public:
  Report(std::string file, const Row& device) : file_(std::move(file)), device_(device.text()) {
    write();
  }

  void add(const std::string& table, const Row& row) {
    const std::string text = row.text();
    std::printf("%s: %s\n", table.c_str(), text.c_str());
    std::string& rows = find(table);
    rows += (rows.empty() ? "\n    " : ",\n    ") + text;
    write();
  }

  // docs/gpu.md says what is aimed at, on which device.
  void target(const std::string& what, double value, const char* relation, double goal) {
    add("targets", Row()
                       .add("what", what)
                       .add("value", value)
                       .add("relation", relation)
                       .add("goal", goal)
                       .add("met", relation[0] == '>' ? value >= goal : value <= goal));
  }

  void finish() {
    finished_ = true;
    write();
  }

 private:
  std::string& find(const std::string& table) {
    for (auto& [name, rows] : tables_) {
      if (name == table) return rows;
    }
    return tables_.emplace_back(table, "").second;
  }

  void write() const {
    std::fflush(stdout);
    std::string text = std::string("{\n  \"finished\": ") + (finished_ ? "true" : "false");
    text += ",\n  \"device\": " + device_;
    for (const auto& [name, rows] : tables_) text += ",\n  \"" + name + "\": [" + rows + "]";
    write_file(file_, text + "\n}\n");
  }

  const std::string file_, device_;
  std::vector<std::pair<std::string, std::string>> tables_;
  bool finished_ = false;
};

}  // namespace nvium::bench
