// LD_PRELOAD helper for llama.cpp: where libggml starts a thread, the thread that computes keeps to the first processor and
// the new one gets one of the others. Some kernels put a new thread on its creator's processor, where two threads are slower
// than one; nvium places its own threads, so this makes the comparison fair.
//
//   gcc -O2 -shared -fPIC pinshim.c -o pinshim.so -ldl
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

typedef int (*create_t)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);

static int processors[CPU_SETSIZE], count;
static atomic_uint started;

__attribute__((constructor)) static void find_processors(void) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  for (int i = 0; i < CPU_SETSIZE; i++) {
    if (CPU_ISSET(i, &allowed)) processors[count++] = i;
  }
}

static cpu_set_t only(int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  return set;
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*entry)(void*),
                   void* argument) {
  const create_t create = (create_t)dlsym(RTLD_NEXT, "pthread_create");
  Dl_info caller;
  if (attributes != NULL || count < 2 || !dladdr(__builtin_return_address(0), &caller) ||
      caller.dli_fname == NULL || strstr(caller.dli_fname, "libggml") == NULL) {
    return create(thread, attributes, entry, argument);
  }
  const cpu_set_t mine = only(processors[0]);
  const cpu_set_t theirs = only(processors[1 + atomic_fetch_add(&started, 1) % (count - 1)]);
  pthread_setaffinity_np(pthread_self(), sizeof mine, &mine);
  pthread_attr_t placed;
  pthread_attr_init(&placed);
  pthread_attr_setaffinity_np(&placed, sizeof theirs, &theirs);
  const int result = create(thread, &placed, entry, argument);
  pthread_attr_destroy(&placed);
  return result;
}
