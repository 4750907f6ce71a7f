// A minimal test harness: TEST(name) { … } registers a test, CHECK and CHECK_EQ report and go on.
// The program runs every test, or those whose name contains one of its arguments.
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
  for (const testing::Test& test : testing::tests()) {
    bool wanted = argc == 1;
    for (int i = 1; i < argc; i++) wanted |= std::strstr(test.name, argv[i]) != nullptr;
    if (!wanted) continue;
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
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed != 0 || passed == 0;
}

#endif  // NVIUM_TEST_NATIVE_TESTING_H_
