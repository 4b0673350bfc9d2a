// Faults, the order of work and the log of the fake card.
#include "card.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <sstream>
#include <unistd.h>

namespace card {

namespace {

/// "NAME N OUTCOME": from its N-th call on NAME answers with a code, hangs or crashes.
struct Fault {
  std::string name;
  unsigned long from = 0, seen = 0;
  std::string outcome;
};

std::vector<Fault> asked_for() {
  std::vector<Fault> all;
  const char *text = getenv("V5_FAKE_GPU_FAULT");
  std::istringstream parts(text ? text : "");
  for (std::string part; std::getline(parts, part, ';');) {
    std::istringstream words(part);
    Fault fault;
    if (words >> fault.name >> fault.from >> fault.outcome) all.push_back(fault);
    else say("V5_FAKE_GPU_FAULT: expected \"NAME N OUTCOME\", got \"%s\"", part.c_str()), abort();
  }
  return all;
}

/// Written at the end of the process to the file that V5_FAKE_GPU_LOG names.
struct Log {
  std::map<std::string, unsigned long> counts;
  ~Log() {
    const char *path = getenv("V5_FAKE_GPU_LOG");
    FILE *file = path ? fopen(path, "a") : nullptr;
    if (!file) return;
    for (auto &[what, n] : counts) fprintf(file, "%d %s %lu\n", int(getpid()), what.c_str(), n);
    fclose(file);
  }
};
Log &counted() {
  static Log log;
  return log;
}

// Never destroyed: threads may call until the process is gone.
std::deque<std::function<void()>> &queue() {
  static auto &all = *new std::deque<std::function<void()>>;
  return all;
}

int trouble = 0;  // the code that a card in trouble answers with

}  // namespace

std::recursive_mutex &turn() {
  static auto &mutex = *new std::recursive_mutex;
  return mutex;
}

void say(const char *format, ...) {
  va_list more;
  va_start(more, format);
  std::string line = "fake gpu: " + std::string(format) + "\n";
  vfprintf(stderr, line.c_str(), more);
  va_end(more);
}

uint64_t setting(const char *variable, uint64_t otherwise) {
  const char *text = getenv(variable);
  if (!text) return otherwise;
  char *end;
  uint64_t value = strtoull(text, &end, 10);
  if (*text && !*end) return value;
  say("%s: expected a number, got \"%s\"", variable, text);
  abort();
}

void count(const std::string &what) {
  static bool wanted = getenv("V5_FAKE_GPU_LOG");
  if (wanted) counted().counts[what]++;
}

int fault(const char *function, const char *kernel) {
  static auto &faults = *new std::vector<Fault>(asked_for());
  std::string with_name = std::string(function) + (kernel ? std::string("/") + kernel : "");
  for (auto &fault : faults) {
    if (fault.name != with_name) continue;
    if (++fault.seen < fault.from) continue;
    if (fault.seen == fault.from) say("as asked for, %s: %s", fault.outcome.c_str(), with_name.c_str());
    if (fault.outcome == "hang")
      for (;;) pause();
    if (fault.outcome == "crash") abort();
    return atoi(fault.outcome.c_str());
  }
  return SUCCESS;
}

int fault_of_work(const char *kernel) {
  int code = fault("run");
  return code ? code : fault("run", kernel);
}

void fail(int code, const std::string &why) {
  if (!trouble) say("error %d from now on: %s", code, why.c_str());
  if (!trouble) trouble = code;
}

void enqueue(std::function<void()> work) {
  static bool late = setting("V5_FAKE_GPU_LATE", 0);
  // So much may wait.
  constexpr size_t MOST = 1000;
  queue().push_back(std::move(work));
  if (!late || queue().size() > MOST) finish();
}

int finish() {
  while (!queue().empty()) {
    auto work = std::move(queue().front());
    queue().pop_front();
    if (!trouble) work();
  }
  return trouble;
}

// The driver's own state that every call looks at.
extern bool initialised;
extern thread_local void *current_context;

int enter(const char *function, bool with_context, bool after_init) {
  count(function);
  if (int code = fault(function)) {
    // As on a card, what a kernel did wrong is for ever.
    if (code >= ILLEGAL_ADDRESS && code < 800 && code != LAUNCH_OUT_OF_RESOURCES) fail(code, function);
    return code;
  }
  if (after_init && !initialised) return NOT_INITIALIZED;
  if (trouble) return trouble;
  if (with_context && !current_context) {
    say("%s: no context is current on this thread", function);
    return INVALID_CONTEXT;
  }
  return SUCCESS;
}

}  // namespace card
