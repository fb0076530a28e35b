/* Compiles a function once per instruction set and lets the loader choose. Anyone may
 * include this file. Put KERNEL_CLONES before a function whose loops gcc vectorises; the call goes
 * through a pointer and is never inlined, so a kernel covers a batch of rows, not one.
 *
 * The clones give the same bits: -std=c11 keeps gcc from fusing multiply and add. Sanitizers run
 * their checks before they are set up when a loader's resolver is instrumented, so their builds
 * have one version. A test that compiles a kernel for one instruction set defines KERNEL_CLONES
 * itself (tests/unit/ps/kernel_variant.c). */
#ifndef ANTHILL_COMMON_KERNEL_CLONES_H
#define ANTHILL_COMMON_KERNEL_CLONES_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define KERNEL_CLONES_CHOSEN 1 /* by the loader */
#else
#define KERNEL_CLONES_CHOSEN 0
#endif

#if !defined(KERNEL_CLONES) && KERNEL_CLONES_CHOSEN
#define KERNEL_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#elif !defined(KERNEL_CLONES)
#define KERNEL_CLONES
#endif

/* The instruction set of the clones that run in this process: "x86-64-v4", "x86-64-v3", "x86-64";
 * "default" where there is one version. */
const char *kernel_clones_name(void);

#endif
