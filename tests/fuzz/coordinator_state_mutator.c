#include "common/wire.h"
#include "tests/fuzz/mutate_message.h"

/* The first byte is odd where the state follows without a header. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t bytes_max, unsigned seed)
{
    struct rng rng = rng_make(seed);
    if (bytes == 0 || data[0] % 2 == 0 || rng_below(&rng, 8) == 0)
        return LLVMFuzzerMutate(data, bytes, bytes_max);
    return 1 + mutate_message(&anthill__coordinator_state__descriptor, data + 1, bytes - 1,
                              bytes_max - 1, &rng);
}
