// What the race detector has found, and how it says so.
#pragma once

#include <string>

#include "races.h"

/// The program's or library's own image, from the linker.
extern "C" __attribute__((visibility("hidden"))) char __ehdr_start, _end;

namespace emulate::races {

enum class Found { nothing, race, under_way, uninitialised, outside, stack, splinter };

struct Access {
  bool known;  // which of a warp's threads; else `thread` is its first
  unsigned thread;
  bool write, copy;
  uint32_t from;  // where in the image it returns to
  uint3 block;
};

struct Report {
  Found what;
  uintptr_t address;
  unsigned size;
  bool shared;
  Access now, before;
};

/// Lines of the source for a place in the image, innermost first; the place itself where there is no addr2line.
std::string lines(uint32_t from);
void write_report(const Report &report, const Places &places, char *message, size_t size);

// Of `traffic.cpp`: whether it is wanted; an access by a thread; a warp meets, or a block has ended; the kernel has.
bool counts_traffic();
void note_traffic(unsigned thread, uintptr_t address, unsigned size, uint32_t from, bool shared);
void meet_traffic(unsigned warp);
void total_traffic(const char *kernel);

}  // namespace emulate::races
