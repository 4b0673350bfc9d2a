// Words for what the race detector has found: kernel lines from debug information, places in memory as a kernel's
// author knows them.
#include <cstdarg>
#include <dlfcn.h>

#include "races_report.h"

namespace emulate::races {

std::string lines(uint32_t from) {
  char number[32];
  // A call returns behind itself.
  snprintf(number, sizeof number, "0x%x", from - 1);
  Dl_info image{};
  if (!dladdr(reinterpret_cast<void *>(&__ehdr_start), &image) || !image.dli_fname) return number;
  std::string command = std::string("addr2line -i -e '") + image.dli_fname + "' " + number + " 2>/dev/null";
  FILE *pipe = popen(command.c_str(), "r");
  if (!pipe) return number;
  std::string all;
  char line[1024];
  while (fgets(line, sizeof line, pipe)) {
    std::string name = base_name(line);
    name.resize(strcspn(name.c_str(), " \n"));
    // The emulator's own are of no interest.
    if (name.rfind("emulate.h", 0) == 0 || name[0] == '?') continue;
    all += all.empty() ? name : " < " + name;
  }
  pclose(pipe);
  return all.empty() ? number : all;
}

namespace {

std::string text(const char *format, ...) __attribute__((format(printf, 1, 2)));
std::string text(const char *format, ...) {
  char room[512];
  va_list more;
  va_start(more, format);
  vsnprintf(room, sizeof room, format, more);
  va_end(more);
  return room;
}

std::string who(const Access &a) {
  std::string block = text("block (%u, %u, %u)", a.block.x, a.block.y, a.block.z);
  return a.known ? text("thread %u of %s", a.thread, block.c_str())
                 : text("warp %u of %s", a.thread / 32, block.c_str());
}

std::string does(const Access &a, bool past) {
  const char *verb = a.copy ? (past ? "copied there asynchronously" : "copies there asynchronously")
                     : a.write ? (past ? "wrote it" : "writes it")
                               : (past ? "had read it" : "reads it");
  return who(a) + " " + verb + " at " + lines(a.from);
}

/// Shared memory by its offset, global memory by the argument that it lies behind.
std::string where(const Report &r, const Places &places) {
  if (r.shared)
    return text("byte %lld of shared memory", (long long)(r.address - reinterpret_cast<uintptr_t>(block->shared)));
  unsigned nearest = places.count;
  for (unsigned i = 0; i < places.count; i++) {
    const Argument &a = places.arguments[i];
    if (a.kind > 3 || a.bits > r.address) continue;
    if (nearest == places.count || a.bits > places.arguments[nearest].bits) nearest = i;
  }
  if (nearest == places.count) return text("address %#zx", size_t(r.address));
  return text("byte %llu of argument %u", (unsigned long long)(r.address - places.arguments[nearest].bits), nearest);
}

/// What would have ordered the two.
const char *missing(const Report &r) {
  uint3 a = r.now.block, b = r.before.block;
  if (a.x != b.x || a.y != b.y || a.z != b.z) return "nothing orders blocks of a launch";
  return r.now.thread / 32 == r.before.thread / 32 ? "no __syncwarp or barrier lies between"
                                                   : "no barrier lies between";
}

}  // namespace

void write_report(const Report &r, const Places &places, char *message, size_t size) {
  std::string at = text("%u bytes at ", r.size) + where(r, places), now = does(r.now, false), all;
  switch (r.what) {
    case Found::race:
      all = "race on " + at + ": " + now + ", " + does(r.before, true) + ", and " + missing(r);
      break;
    case Found::under_way:
      all = "copy not waited for, " + at + ": " + now + ", " + does(r.before, true) +
            ", and has not waited for it yet";
      break;
    case Found::uninitialised: all = "uninitialised " + at + ": " + now + ", and nobody of the block wrote it"; break;
    case Found::outside:
      all = text("outside the %u bytes of shared memory, ", block->shared_bytes) + at + ": " + now;
      break;
    case Found::stack: all = "another thread's registers: " + now; break;
    case Found::splinter:
      all = "less than an element of the kernel's smallest type, " + at + ": " + now;
      break;
    case Found::nothing: break;
  }
  snprintf(message, size, "%s", all.c_str());
}

}  // namespace emulate::races
