// What the fake card can run: the kernels of `kernels/*.cu`, through the emulator. Candle's are in candle.cpp.
#include <cstring>

#include "card.h"
#include "emulate.h"

extern "C" int v5_emulate(const char *name, const unsigned *grid, const unsigned *size, unsigned shared_bytes,
                          const emulate::Argument *arguments, unsigned count, unsigned seed, char *message);

namespace card {

namespace {
// The emulator's numbers for kinds of parameters.
constexpr uint32_t COUNT = 10, NUMBER = 11, POINTER = 100;
}  // namespace

size_t Kernel::bytes(size_t parameter) const {
  if (native) return kinds[parameter];
  return kinds[parameter] == POINTER ? 8 : 4;
}

bool Kernel::is_pointer(size_t parameter) const { return !native && kinds[parameter] == POINTER; }

std::shared_ptr<const Kernel> ours(const std::string &name) {
  const emulate::Kernel *found = emulate::kernels;
  while (found && name != found->name) found = found->next;
  if (!found) return nullptr;
  auto kernel = std::make_shared<Kernel>();
  kernel->name = name;
  // A call tells no types; the emulator says which argument is the first that does not fit.
  std::vector<emulate::Argument> tried(found->parameters, {0, POINTER});
  for (int bad; (bad = found->check(tried.data())) >= 0;) {
    auto &kind = tried[size_t(bad)].kind;
    if (kind == NUMBER) return nullptr;
    kind = kind == POINTER ? COUNT : NUMBER;
  }
  for (auto &argument : tried) kernel->kinds.push_back(argument.kind);
  return kernel;
}

std::string run(const Kernel &kernel, const unsigned grid[3], const unsigned block[3], unsigned shared,
                const std::vector<uint64_t> &values) {
  if (kernel.native) return kernel.native(values.data()), "";
  static unsigned seed = 1;
  std::vector<emulate::Argument> arguments;
  for (size_t i = 0; i < values.size(); i++) arguments.push_back({values[i], kernel.kinds[i]});
  char message[2048] = "";
  int failed = v5_emulate(kernel.name.c_str(), grid, block, shared, arguments.data(), unsigned(arguments.size()), seed++,
                          message);
  return failed ? message : "";
}

}  // namespace card
