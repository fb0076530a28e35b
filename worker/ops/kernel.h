/* How hot loops are compiled: once per instruction set, chosen when the program starts. Put
 * ANTHILL_KERNEL before a static function whose loops gcc vectorises; the call goes through a
 * pointer and is never inlined, so a kernel covers a whole matrix, not a row. */
#ifndef ANTHILL_WORKER_OPS_KERNEL_H
#define ANTHILL_WORKER_OPS_KERNEL_H

/* Sanitizers are not up yet when the loader resolves the clones, so their builds have one version.
 */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__OPTIMIZE__) &&    \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define ANTHILL_KERNEL __attribute__((target_clones("default", "avx2", "arch=skylake-avx512")))
#else
#define ANTHILL_KERNEL
#endif

/* Eight floats that the compiler keeps in registers (two, where those are of 128 bits). Written
 * out, because gcc does not find the best form of nested sums over rows by itself. */
typedef float kernel_vector __attribute__((vector_size(32), aligned(4), may_alias));
#define KERNEL_VECTOR_FLOATS 8

#endif
