/* Compiles a function once per instruction set and lets the loader choose. Anyone in ps may
 * include this file.
 *
 * The clones give the same bits: -std=c11 keeps gcc from fusing multiply and add. Sanitizers run
 * their checks before they are set up when a loader's resolver is instrumented, so their builds
 * have one version. */
#ifndef ANTHILL_PS_KERNEL_CLONES_H
#define ANTHILL_PS_KERNEL_CLONES_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define KERNEL_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define KERNEL_CLONES
#endif

#endif
