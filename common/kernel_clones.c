#include "common/kernel_clones.h"

const char *kernel_clones_name(void)
{
#if KERNEL_CLONES_CHOSEN
    /* What gcc's resolvers ask, in their order. */
    __builtin_cpu_init();
    if (__builtin_cpu_supports("x86-64-v4")) return "x86-64-v4";
    if (__builtin_cpu_supports("x86-64-v3")) return "x86-64-v3";
    return "x86-64";
#else
    return "default";
#endif
}
