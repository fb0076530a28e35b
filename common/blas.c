#include "common/blas.h"

#include <cblas.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/log.h"

#define GUARD "ANTHILL_BLAS_STARTED"

/* How wide a family's kernels are. A family that is not listed has SSE kernels. */
enum width { WIDTH_SSE, WIDTH_AVX, WIDTH_AVX2, WIDTH_AVX512 };

static enum width family_width(const char *family)
{
    static const struct {
        const char *name;
        enum width width;
    } families[] = {
        {"Sandybridge", WIDTH_AVX},   {"Bulldozer", WIDTH_AVX},
        {"Piledriver", WIDTH_AVX},    {"Steamroller", WIDTH_AVX},
        {"Excavator", WIDTH_AVX},     {"Haswell", WIDTH_AVX2},
        {"Zen", WIDTH_AVX2},          {"SkylakeX", WIDTH_AVX512},
        {"Cooperlake", WIDTH_AVX512}, {"SapphireRapids", WIDTH_AVX512},
    };
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        if (strcasecmp(family, families[i].name) == 0) return families[i].width;
    }
    return WIDTH_SSE;
}

const char *blas_family(void)
{
    return openblas_get_corename();
}

#if defined(__x86_64__)

const char *blas_family_wanted(void)
{
    __builtin_cpu_init();
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                  __builtin_cpu_supports("avx512cd");
    if (avx512) return "SkylakeX";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        return __builtin_cpu_is("amd") ? "Zen" : "Haswell";
    }
    if (__builtin_cpu_supports("avx")) return "Sandybridge";
    return blas_family();
}

#else

const char *blas_family_wanted(void)
{
    return blas_family();
}

#endif

/* Starts this program again; returns only when that fails. */
static void start_again(char **argv)
{
    /* The real path keeps the process's name in ps and top; the link works even when the file
     * was replaced meanwhile. */
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length > 0) {
        path[length] = 0;
        execv(path, argv);
    }
    execv("/proc/self/exe", argv);
}

void blas_start(char **argv)
{
    const char *wanted = blas_family_wanted(), *chosen = getenv("OPENBLAS_CORETYPE");
    bool started_again = getenv(GUARD) != NULL;
    unsetenv(GUARD);
    /* A wider family than the wanted one is a newer OpenBLAS's own, better choice; but what it
     * makes of an empty name is no choice at all. */
    bool narrow = family_width(blas_family()) < family_width(wanted);
    bool empty = chosen != NULL && *chosen == 0 && strcasecmp(blas_family(), wanted) != 0;
    if (((chosen == NULL && narrow) || empty) && !started_again) {
        setenv("OPENBLAS_CORETYPE", wanted, 1);
        setenv(GUARD, "1", 1);
        start_again(argv);
        unsetenv(GUARD);
        log_event(LOG_WARN, "blas_restart_failed", "wanted=%s", wanted);
    }
    if (family_width(blas_family()) == WIDTH_SSE && family_width(wanted) >= WIDTH_AVX2) {
        log_event(
            LOG_WARN, "blas_slow",
            "family=%s wanted=%s: OpenBLAS runs SSE kernels on a processor with AVX2, several "
            "times slower; set OPENBLAS_CORETYPE=%s",
            blas_family(), wanted, wanted);
    }
    /* The number of threads is ours: one for each call. */
    if (openblas_get_parallel() != 0) openblas_set_num_threads(1);
}
