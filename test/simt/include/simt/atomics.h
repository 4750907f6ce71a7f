// Atomics, fences and loads with cache hints. Fibers never run at the same time, so a plain
// read-modify-write is atomic; each is announced to the checker as one access.
#pragma once

#include <type_traits>

#include "simt/warp.h"

namespace simt {

template <class T, class F>
SIMT_UNHOOKED T atomic_update(T* address, F next, const Place& place) {
  note(address, sizeof(T), Access::update, place);
  const T old = *address;
  *address = next(old);
  return old;
}

template <class T>
SIMT_UNHOOKED T load_as(const T* address, Access access, const Place& place) {
  // Even where nothing is checked, a thread that polls gives its turn away.
  if (observing || access == Access::relaxed_read) note(address, sizeof(T), access, place);
  return *address;
}

template <class T>
SIMT_UNHOOKED void store_as(T* address, T value, Access access, const Place& place) {
  if (observing) note(address, sizeof(T), access, place);
  *address = value;
}

}  // namespace simt

template <class T>
T atomicAdd(T* address, std::type_identity_t<T> value, SIMT_PLACE) {
  return simt::atomic_update(
      address, [=](T old) { return T(old + value); }, place);
}
template <class T>
T atomicSub(T* address, std::type_identity_t<T> value, SIMT_PLACE) {
  return simt::atomic_update(
      address, [=](T old) { return T(old - value); }, place);
}
template <class T>
T atomicMax(T* address, std::type_identity_t<T> value, SIMT_PLACE) {
  return simt::atomic_update(
      address, [=](T old) { return old > value ? old : value; }, place);
}
template <class T>
T atomicMin(T* address, std::type_identity_t<T> value, SIMT_PLACE) {
  return simt::atomic_update(
      address, [=](T old) { return old < value ? old : value; }, place);
}
template <class T>
T atomicAnd(T* address, std::type_identity_t<T> value, SIMT_PLACE) {
  return simt::atomic_update(
      address, [=](T old) { return T(old & value); }, place);
}
template <class T>
T atomicOr(T* address, std::type_identity_t<T> value, SIMT_PLACE) {
  return simt::atomic_update(
      address, [=](T old) { return T(old | value); }, place);
}
template <class T>
T atomicXor(T* address, std::type_identity_t<T> value, SIMT_PLACE) {
  return simt::atomic_update(
      address, [=](T old) { return T(old ^ value); }, place);
}
template <class T>
T atomicExch(T* address, std::type_identity_t<T> value, SIMT_PLACE) {
  return simt::atomic_update(
      address, [=](T) { return value; }, place);
}
template <class T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value,
            SIMT_PLACE) {
  return simt::atomic_update(
      address, [=](T old) { return old == expected ? value : old; }, place);
}
inline unsigned atomicInc(unsigned* address, unsigned limit, SIMT_PLACE) {
  return simt::atomic_update(
      address, [=](unsigned old) { return old >= limit ? 0u : old + 1; }, place);
}
inline unsigned atomicDec(unsigned* address, unsigned limit, SIMT_PLACE) {
  return simt::atomic_update(
      address, [=](unsigned old) { return old == 0 || old > limit ? limit : old - 1; }, place);
}

inline void __threadfence() { simt::fence(simt::Scope::device); }
inline void __threadfence_block() { simt::fence(simt::Scope::block); }
inline void __threadfence_system() { simt::fence(simt::Scope::device); }

template <class T>
T __ldg(const T* address, SIMT_PLACE) {
  return simt::load_as(address, simt::Access::read_only, place);
}
template <class T>
T __ldcg(const T* address, SIMT_PLACE) {
  return simt::load_as(address, simt::Access::bypass_read, place);
}
template <class T>
T __ldcs(const T* address, SIMT_PLACE) {
  return simt::load_as(address, simt::Access::read, place);
}
template <class T>
T __ldca(const T* address, SIMT_PLACE) {
  return simt::load_as(address, simt::Access::read, place);
}
template <class T>
void __stcs(T* address, std::type_identity_t<T> value, SIMT_PLACE) {
  simt::store_as(address, value, simt::Access::write, place);
}
template <class T>
void __stcg(T* address, std::type_identity_t<T> value, SIMT_PLACE) {
  simt::store_as(address, value, simt::Access::write, place);
}
