// Memory of the fake card: the host's, between margins, and full of NaN until somebody writes it.
#include <cstdlib>
#include <cstring>
#include <map>

#include "card.h"

using namespace card;

namespace {

constexpr size_t MARGIN = 256, GRAIN = 512;
constexpr unsigned char UNWRITTEN = 0xff;

struct Allocation {
  unsigned char *raw;
  size_t bytes;
  bool whole() const {
    for (size_t i = 0; i < MARGIN; i++)
      if (raw[i] != UNWRITTEN || raw[MARGIN + bytes + i] != UNWRITTEN) return false;
    return true;
  }
};

/// By address.
std::map<uint64_t, Allocation> &allocations() {
  static auto &all = *new std::map<uint64_t, Allocation>;
  return all;
}
/// Of the host, as the card reads it by itself.
std::map<uint64_t, size_t> &pinned() {
  static auto &all = *new std::map<uint64_t, size_t>;
  return all;
}
uint64_t used = 0, highest = 0, threshold = 0;
int pool;

uint64_t total() { return setting("V5_FAKE_GPU_MEMORY", 139ull << 30); }
size_t rounded(size_t bytes) { return (bytes + GRAIN - 1) / GRAIN * GRAIN; }

const Allocation *around(uint64_t address, size_t bytes) {
  auto next = allocations().upper_bound(address);
  if (next == allocations().begin()) return nullptr;
  auto &[start, found] = *--next;
  return address + bytes <= start + found.bytes ? &found : nullptr;
}

bool is_pinned(const void *from, size_t bytes) {
  auto address = reinterpret_cast<uint64_t>(from);
  auto next = pinned().upper_bound(address);
  if (next == pinned().begin()) return false;
  --next;
  return address + bytes <= next->first + next->second;
}

int allocate(uint64_t *address, size_t bytes) {
  if (!bytes) return INVALID_VALUE;
  if (used + rounded(bytes) > total()) return OUT_OF_MEMORY;
  auto raw = static_cast<unsigned char *>(aligned_alloc(GRAIN, rounded(bytes + 2 * MARGIN) + GRAIN));
  if (!raw) return OUT_OF_MEMORY;
  memset(raw, UNWRITTEN, bytes + 2 * MARGIN);
  *address = reinterpret_cast<uint64_t>(raw) + MARGIN;
  allocations()[*address] = {raw, bytes};
  used += rounded(bytes);
  highest = std::max(highest, used);
  return SUCCESS;
}

int release(uint64_t address) {
  auto found = allocations().find(address);
  if (found == allocations().end()) return INVALID_VALUE;
  if (!found->second.whole()) fail(ILLEGAL_ADDRESS, "written outside an allocation");
  used -= rounded(found->second.bytes);
  free(found->second.raw);
  allocations().erase(found);
  return SUCCESS;
}

unsigned char *at(uint64_t address) { return reinterpret_cast<unsigned char *>(address); }

int copy_in(uint64_t to, const void *from, size_t bytes) {
  if (!bytes) return SUCCESS;
  if (!holds(to, bytes)) return INVALID_VALUE;
  if (is_pinned(from, bytes)) {
    enqueue([=] { memcpy(at(to), from, bytes); });
  } else {
    // The driver takes a copy before it returns.
    auto first = static_cast<const unsigned char *>(from);
    enqueue([to, bytes, taken = std::vector<unsigned char>(first, first + bytes)] { memcpy(at(to), taken.data(), bytes); });
  }
  return SUCCESS;
}

int copy_out(void *to, uint64_t from, size_t bytes) {
  if (!bytes) return SUCCESS;
  if (!holds(from, bytes)) return INVALID_VALUE;
  enqueue([=] { memcpy(to, at(from), bytes); });
  // To other memory than pinned it returns when all is there.
  return is_pinned(to, bytes) ? int(SUCCESS) : finish();
}

int copy_within(uint64_t to, uint64_t from, size_t bytes) {
  if (!bytes) return SUCCESS;
  if (!holds(to, bytes) || !holds(from, bytes)) return INVALID_VALUE;
  enqueue([=] { memmove(at(to), at(from), bytes); });
  return SUCCESS;
}

int set(uint64_t to, unsigned char value, size_t bytes) {
  if (!bytes) return SUCCESS;
  if (!holds(to, bytes)) return INVALID_VALUE;
  enqueue([=] { memset(at(to), value, bytes); });
  return SUCCESS;
}

}  // namespace

namespace card {
bool holds(uint64_t address, size_t bytes) { return around(address, bytes); }
bool overrun(uint64_t address) {
  auto found = around(address, 0);
  return found && !found->whole();
}
}  // namespace card

EXPORTED int cuDeviceTotalMem_v2(size_t *bytes, int) {
  ENTER_ANYWHERE;
  return *bytes = total(), SUCCESS;
}
EXPORTED int cuMemGetInfo_v2(size_t *unused, size_t *all) {
  ENTER;
  return *all = total(), *unused = *all - used, SUCCESS;
}
EXPORTED int cuMemAllocAsync(uint64_t *address, size_t bytes, void *) {
  ENTER;
  // Of nothing, a pool gives nothing; the other function refuses.
  if (!bytes) return *address = 0, SUCCESS;
  return allocate(address, bytes);
}
EXPORTED int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
  ENTER;
  return allocate(address, bytes);
}
EXPORTED int cuMemFreeAsync(uint64_t address, void *stream) {
  ENTER_AS(!stream);
  if (!address) return SUCCESS;
  if (!around(address, 0)) return INVALID_VALUE;
  enqueue([=] { release(address); });
  return SUCCESS;
}
EXPORTED int cuMemFree_v2(uint64_t address) {
  ENTER;
  if (int code = finish()) return code;
  return release(address);
}
EXPORTED int cuMemHostAlloc(void **address, size_t bytes, unsigned) {
  ENTER;
  *address = aligned_alloc(GRAIN, rounded(bytes) + GRAIN);
  if (!*address) return OUT_OF_MEMORY;
  return pinned()[reinterpret_cast<uint64_t>(*address)] = bytes, SUCCESS;
}
EXPORTED int cuMemFreeHost(void *address) {
  ENTER;
  if (int code = finish()) return code;
  if (!pinned().erase(reinterpret_cast<uint64_t>(address))) return INVALID_VALUE;
  return free(address), SUCCESS;
}

EXPORTED int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *) {
  ENTER;
  return copy_in(to, from, bytes);
}
EXPORTED int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *) {
  ENTER;
  return copy_out(to, from, bytes);
}
EXPORTED int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *) {
  ENTER;
  return copy_within(to, from, bytes);
}
EXPORTED int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void *) {
  ENTER;
  return set(to, value, bytes);
}

EXPORTED int cuDeviceGetDefaultMemPool(void **to, int) {
  ENTER_ANYWHERE;
  return *to = &pool, SUCCESS;
}
namespace {
constexpr int RELEASE_THRESHOLD = 4, RESERVED = 5, RESERVED_HIGH = 6, USED = 7, USED_HIGH = 8;
}
EXPORTED int cuMemPoolSetAttribute(void *of, int attribute, void *value) {
  ENTER_ANYWHERE;
  auto n = *static_cast<uint64_t *>(value);
  if (of != &pool) return INVALID_VALUE;
  switch (attribute) {
    case RELEASE_THRESHOLD: return threshold = n, SUCCESS;
    // A high-water mark can only be set to zero, and then begins at what is in use.
    case RESERVED_HIGH:
    case USED_HIGH: return n ? int(INVALID_VALUE) : (highest = used, int(SUCCESS));
  }
  return INVALID_VALUE;
}
EXPORTED int cuMemPoolGetAttribute(void *of, int attribute, void *value) {
  ENTER_ANYWHERE;
  auto &n = *static_cast<uint64_t *>(value);
  if (of != &pool) return INVALID_VALUE;
  switch (attribute) {
    case RELEASE_THRESHOLD: return n = threshold, SUCCESS;
    case RESERVED:
    case USED: return n = used, SUCCESS;
    case RESERVED_HIGH:
    case USED_HIGH: return n = highest, SUCCESS;
  }
  return INVALID_VALUE;
}
