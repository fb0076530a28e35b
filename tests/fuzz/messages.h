/* Inputs that are sequences of messages, as a state machine would get them from peers that write
 * whatever they like. An event is
 *
 *     u8 kind      low four bits: who sends; the others: the target's own
 *     u8 pause     how much time passes before it (messages_pause_ns)
 *     u8 payloads  frames after the header, modulo 3
 *     u16 bytes of the header, and of each payload frame; then the bytes, fewer where the input
 * ends
 *
 * little-endian. messages_mutator.c changes fields of such messages one by one. */
#ifndef ANTHILL_TESTS_FUZZ_MESSAGES_H
#define ANTHILL_TESTS_FUZZ_MESSAGES_H

#include "common/wire.h"
#include "tests/fuzz/fuzz.h"

struct messages_event {
    uint8_t kind, pause;
    unsigned payload_count;
    struct fuzz_input header, payload[WIRE_PAYLOADS_MAX];
};

/* False at the end of the input. */
static inline bool messages_next(struct fuzz_input *input, struct messages_event *event)
{
    if (input->bytes < 5) return false;
    size_t bytes[1 + WIRE_PAYLOADS_MAX] = {0};
    event->kind = fuzz_byte(input);
    event->pause = fuzz_byte(input);
    event->payload_count = fuzz_byte(input) % (WIRE_PAYLOADS_MAX + 1);
    for (unsigned i = 0; i <= event->payload_count; i++)
        bytes[i] = fuzz_number(input, 2);
    event->header = fuzz_take(input, bytes[0]);
    for (unsigned i = 0; i < event->payload_count; i++)
        event->payload[i] = fuzz_take(input, bytes[1 + i]);
    return true;
}

/* 0 to half an hour. */
static inline uint64_t messages_pause_ns(uint8_t pause)
{
    static const uint64_t ms[] = {0, 0, 0, 0, 1, 100, 1000, 3000, 10000, 60000, 1800000};
    return ms[pause % (sizeof ms / sizeof *ms)] * 1000000;
}

/* The event's message from `peer`, unpacked. The payload frames are the input's own bytes, and as
 * little aligned. False when it is no Envelope: a transport would drop it. */
static inline bool messages_unpack(const struct messages_event *event, uint64_t peer,
                                   struct message *message)
{
    *message = (struct message){.peer = peer, .payload_count = event->payload_count};
    message->header = (struct frame){(void *)event->header.data, event->header.bytes, NULL, NULL};
    for (unsigned i = 0; i < event->payload_count; i++) {
        message->payload[i] =
            (struct frame){(void *)event->payload[i].data, event->payload[i].bytes, NULL, NULL};
    }
    if (wire_unpack(message, NULL) == STATUS_OK) return true;
    wire_message_deinit(message);
    return false;
}

#endif
