/* Changes to protobuf messages, field by field, for libFuzzer's custom mutators. */
#ifndef ANTHILL_TESTS_FUZZ_MUTATE_MESSAGE_H
#define ANTHILL_TESTS_FUZZ_MUTATE_MESSAGE_H

#include <protobuf-c/protobuf-c.h>

#include "common/rng.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t bytes_max, unsigned seed);
/* libFuzzer's own. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t bytes_max);

/* Changes one field of the packed message data[bytes] in place; returns its new size. Bytes that
 * are no such message, and results above bytes_max, are left to LLVMFuzzerMutate. */
size_t mutate_message(const ProtobufCMessageDescriptor *descriptor, uint8_t *data, size_t bytes,
                      size_t bytes_max, struct rng *rng);

#endif
