/* Compiles a function once per instruction set and lets the loader choose. Anyone may
 * include this file. Put KERNEL_CLONES before a function whose loops gcc vectorises; the call goes
 * through a pointer and is never inlined, so a kernel covers a batch of rows, not one.
 *
 * The clones give the same bits: -std=c11 keeps gcc from fusing multiply and add. Sanitizers run
 * their checks before they are set up when a loader's resolver is instrumented, so their builds
 * have one version. */
#ifndef ANTHILL_COMMON_KERNEL_CLONES_H
#define ANTHILL_COMMON_KERNEL_CLONES_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define KERNEL_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define KERNEL_CLONES
#endif

#endif
