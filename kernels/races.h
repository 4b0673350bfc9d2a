// What the emulator tells the race detector (`races.cpp`) while a kernel runs. Without V5_RACES nobody listens.
#pragma once

#include "emulate.h"

#if defined(V5_RACES)
#define V5_EXPORTED __attribute__((visibility("default")))
#else
#define V5_EXPORTED
#endif

namespace emulate {

/// Ends the launch; the message is there already.
[[noreturn]] void stop();

inline const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

namespace races {

/// Where a launch has its things.
struct Places {
  const char *kernel;
  const Argument *arguments;
  unsigned count;
  const unsigned char *stacks;  // one behind the other, of `stack` bytes each
  size_t stack;
  unsigned threads;
  const Mail *mail;  // one for every warp
  const unsigned char *room;  // of shared memory and its margins
  size_t room_bytes;
};

#ifdef V5_RACES
void begins(const Places &places);
void next_block();
/// All of a warp have come to whatever they come to together.
void meets(unsigned warp);
/// A fiber goes on.
void enters(const Fiber &fiber);
/// All of a warp have come to __syncwarp; all of the block to __syncthreads.
void joins(unsigned warp);
void joins();
/// An asynchronous copy of 16 bytes is issued at `pc`, from null where it writes zeros; it has been waited for.
void copies(const void *to, const void *from, const void *pc);
void arrives(const void *to);
/// Whether a barrier, or the wait for a copy, is to be left out.
bool left_out(Site site);
/// Ends a launch; whether something was found, and what.
bool ends(char *message, size_t size);
#else
inline void begins(const Places &) {}
inline void next_block() {}
inline void meets(unsigned) {}
inline void enters(const Fiber &) {}
inline void joins(unsigned) {}
inline void joins() {}
inline void copies(const void *, const void *, const void *) {}
inline void arrives(const void *) {}
inline bool left_out(Site) { return false; }
inline bool ends(char *, size_t) { return false; }
#endif

}  // namespace races
}  // namespace emulate
