#include "common/wire.h"
#include "tests/fuzz/mutate_message.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t bytes_max, unsigned seed)
{
    struct rng rng = rng_make(seed);
    if (rng_below(&rng, 3) == 0) return LLVMFuzzerMutate(data, bytes, bytes_max);
    return mutate_message(&anthill__envelope__descriptor, data, bytes, bytes_max, &rng);
}
