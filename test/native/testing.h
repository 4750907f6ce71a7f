// A minimal test harness: TEST(name) { … } registers a test, CHECK and CHECK_EQ report and go on.
// The program runs every test, or those whose name contains one of its arguments or is one that
// follows a "=". With --list first it prints their names instead.
#ifndef NVIUM_TEST_NATIVE_TESTING_H_
#define NVIUM_TEST_NATIVE_TESTING_H_

#include <cstdio>
#include <cstring>
#include <exception>
#include <sstream>
#include <string>
#include <vector>

namespace testing {

struct Test {
  const char* name;
  void (*run)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

struct Registration {
  Registration(const char* name, void (*run)()) { tests().push_back({name, run}); }
};

inline int failures = 0;  // of the test that runs; only the first few are printed

inline void fail(const char* file, int line, const std::string& what) {
  if (++failures <= 10) std::printf("  %s:%d: %s\n", file, line, what.c_str());
}

template <class A, class B>
void check_equal(const char* file, int line, const char* text, const A& a, const B& b) {
  if (a == b) return;
  std::ostringstream message;
  message.precision(17);
  message << text << ": " << a << " is not " << b;
  fail(file, line, message.str());
}

}  // namespace testing

#define TEST(name)                                                         \
  static void test_##name();                                               \
  static const testing::Registration register_##name(#name, &test_##name); \
  static void test_##name()

#define CHECK(condition) \
  ((condition) ? void() : testing::fail(__FILE__, __LINE__, "false: " #condition))

#define CHECK_EQ(a, b) testing::check_equal(__FILE__, __LINE__, #a " == " #b, a, b)

// Weak, so that a program may consist of several files.
__attribute__((weak)) int main(int argc, char** argv) {
  int passed = 0, failed = 0;
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // whoever waits sees how far it is
  const bool list = argc > 1 && std::strcmp(argv[1], "--list") == 0;
  const int first = list ? 2 : 1;
  for (const testing::Test& test : testing::tests()) {
    bool wanted = argc == first;
    for (int i = first; i < argc; i++) {
      wanted |= argv[i][0] == '=' ? std::strcmp(test.name, argv[i] + 1) == 0
                                  : std::strstr(test.name, argv[i]) != nullptr;
    }
    if (!wanted) continue;
    if (list) {
      std::printf("%s\n", test.name);
      continue;
    }
    testing::failures = 0;
    try {
      test.run();
    } catch (const std::exception& error) {
      testing::fail(test.name, 0, error.what());
    } catch (...) {
      testing::fail(test.name, 0, "threw what is no std::exception");
    }
    std::printf("%s %s\n", testing::failures == 0 ? "ok  " : "FAIL", test.name);
    ++(testing::failures == 0 ? passed : failed);
  }
  if (list) return 0;
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed != 0 || passed == 0;
}

#endif  // NVIUM_TEST_NATIVE_TESTING_H_
