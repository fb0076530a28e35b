/* anthill-sim --seed N | --seeds A..B: runs, one after the other; ends at the first that fails. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

/* Of jemalloc: memory is not given back between runs. */
extern const char *malloc_conf;
const char *malloc_conf = "dirty_decay_ms:-1,muzzy_decay_ms:-1";

static int usage(void)
{
    fputs("usage: anthill-sim [--trace] --seed N | --seeds FIRST..LAST"
#ifdef SIM_CANARY
          " --canary no-window|rename-first|early-answer|no-fence"
#endif
          "\n",
          stderr);
    return 2;
}

static bool parse_seeds(const char *text, uint64_t *first, uint64_t *last)
{
    char *end = NULL;
    *first = *last = strtoull(text, &end, 10);
    if (end == text) return false;
    if (strncmp(end, "..", 2) == 0) {
        const char *second = end + 2;
        *last = strtoull(second, &end, 10);
        if (end == second) return false;
    }
    return *end == 0 && *first <= *last;
}

static bool parse_canary(const char *name, enum canary *canary)
{
    *canary = CANARY_NONE;
#ifdef SIM_CANARY
    for (enum canary one = CANARY_NONE + 1; one < CANARIES; one++) {
        if (strcmp(name, canary_names[one]) == 0) *canary = one;
    }
#else
    (void)name;
#endif
    return *canary != CANARY_NONE;
}

int main(int argc, char **argv)
{
    uint64_t first = 1, last = 0, sum = 0;
    bool trace = false;
    enum canary canary = CANARY_NONE;
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--trace") == 0) {
            trace = true;
        } else if (more && (strcmp(argv[i], "--seed") == 0 || strcmp(argv[i], "--seeds") == 0)) {
            if (!parse_seeds(argv[++i], &first, &last)) return usage();
        } else if (!more || strcmp(argv[i], "--canary") != 0 || !parse_canary(argv[++i], &canary)) {
            return usage();
        }
    }
    if (first > last) return usage();
    for (uint64_t seed = first; seed <= last; seed++) {
        sim_run(seed, trace, canary);
        sum = rng_key(sum, sim.hash);
        if (first == last) printf("seed %" PRIu64 ": trace hash %016" PRIx64 "\n", seed, sim.hash);
    }
    if (first != last) {
        printf("seeds %" PRIu64 " to %" PRIu64 ": no violation; hash of the traces %016" PRIx64
               "\n",
               first, last, sum);
    }
    return 0;
}
