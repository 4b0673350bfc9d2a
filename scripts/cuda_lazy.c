// Stands in for one shared CUDA library when linking. Each of its functions finds the real one at its first
// call; where that is missing it fails with an error code, so that a program starts on any machine.
// FUNCTIONS names a file of lines F(name, returns text), SONAME the library; NO_LIBRARY and NO_FUNCTION are
// the codes.
#if !defined __x86_64__ || !defined __linux__
#error "written for the calling convention of x86-64 Linux"
#endif
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

struct entry {
    void *target;
    char text;
    char name[];
};

static int no_library(void) { return NO_LIBRARY; }
static int no_function(void) { return NO_FUNCTION; }
static const char *no_text(void) { return SONAME " has no words for this"; }

__attribute__((used)) static void *resolve(struct entry *entry) {
    void *library = dlopen(SONAME, RTLD_NOW);
    void *target = library ? dlsym(library, entry->name) : NULL;
    if (!target) {
        // Without a driver there is no GPU, which is no fault; anything else that is missing is one.
        if (library || strcmp(SONAME, "libcuda.so.1"))
            fprintf(stderr, "%s\n", dlerror());
        target = entry->text ? (void *)no_text : library ? (void *)no_function : (void *)no_library;
    }
    __atomic_store_n(&entry->target, target, __ATOMIC_RELEASE);
    return target;
}

// Resolves the entry in r11 and jumps there, with the registers that may hold arguments as they were.
__asm__(".text\n"
        "first_call:\n"
        "push %rdi; push %rsi; push %rdx; push %rcx; push %r8; push %r9; push %rax\n"
        "sub $128, %rsp\n"
        ".irp i, 0, 1, 2, 3, 4, 5, 6, 7\n movups %xmm\\i, 16*\\i(%rsp)\n .endr\n"
        "mov %r11, %rdi\n"
        "call resolve\n"
        "mov %rax, %r11\n"
        ".irp i, 0, 1, 2, 3, 4, 5, 6, 7\n movups 16*\\i(%rsp), %xmm\\i\n .endr\n"
        "add $128, %rsp\n"
        "pop %rax; pop %r9; pop %r8; pop %rcx; pop %rdx; pop %rsi; pop %rdi\n"
        "jmp *%r11\n");

#define F(name, text)                                                                                        \
    __asm__(".text\n.globl " #name "\n.type " #name ", @function\n" #name ":\n"                              \
            "endbr64\n jmp *1f(%rip)\n"                                                                      \
            "2: lea 1f(%rip), %r11\n jmp first_call\n"                                                       \
            ".data\n.balign 8\n1: .quad 2b\n .byte " #text "\n .asciz \"" #name "\"\n.text\n");
#include FUNCTIONS
