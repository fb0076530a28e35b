/* Changes whole events, or one of an event's fields or frames, of inputs as in messages.h. */
#include <string.h>

#include "tests/fuzz/messages.h"
#include "tests/fuzz/mutate_message.h"

enum { EVENTS_MAX = 32, FRAME_BYTES_MAX = 2048 };

/* An event that is to be changed. */
struct event {
    uint8_t kind, pause;
    unsigned frame_count; /* the header is the first */
    size_t bytes[1 + WIRE_PAYLOADS_MAX];
    uint8_t frames[1 + WIRE_PAYLOADS_MAX][FRAME_BYTES_MAX];
};

static struct event events[EVENTS_MAX + 1];
static size_t count;

static void put_frame(struct event *event, struct fuzz_input frame)
{
    size_t bytes = frame.bytes < FRAME_BYTES_MAX ? frame.bytes : FRAME_BYTES_MAX;
    event->bytes[event->frame_count] = bytes;
    if (bytes > 0) memcpy(event->frames[event->frame_count], frame.data, bytes);
    event->frame_count++;
}

static void parse(struct fuzz_input input)
{
    struct messages_event event;
    for (count = 0; count < EVENTS_MAX && messages_next(&input, &event); count++) {
        events[count] = (struct event){.kind = event.kind, .pause = event.pause};
        put_frame(&events[count], event.header);
        for (unsigned i = 0; i < event.payload_count; i++)
            put_frame(&events[count], event.payload[i]);
    }
}

/* Returns how many bytes of data[bytes_max] are written; events that do not fit are left out. */
static size_t write_out(uint8_t *data, size_t bytes_max)
{
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        const struct event *event = &events[i];
        size_t wanted = 3;
        for (unsigned f = 0; f < event->frame_count; f++)
            wanted += 2 + event->bytes[f];
        if (wanted > bytes_max - used) break;
        data[used++] = event->kind;
        data[used++] = event->pause;
        data[used++] = (uint8_t)(event->frame_count - 1);
        for (unsigned f = 0; f < event->frame_count; f++) {
            data[used++] = (uint8_t)event->bytes[f];
            data[used++] = (uint8_t)(event->bytes[f] >> 8);
        }
        for (unsigned f = 0; f < event->frame_count; f++) {
            memcpy(data + used, event->frames[f], event->bytes[f]);
            used += event->bytes[f];
        }
    }
    return used;
}

/* An empty message of any body. */
static struct event new_event(struct rng *rng)
{
    const ProtobufCMessageDescriptor *envelope = &anthill__envelope__descriptor;
    struct event event = {.kind = (uint8_t)rng_u64(rng), .frame_count = 1};
    unsigned field = 0;
    do {
        field = (unsigned)rng_below(rng, envelope->n_fields);
    } while (envelope->fields[field].type != PROTOBUF_C_TYPE_MESSAGE);
    uint32_t tag = envelope->fields[field].id << 3 | 2;
    const uint8_t header[] = {1 << 3, WIRE_VERSION, (uint8_t)(tag | 128), (uint8_t)(tag >> 7), 0};
    memcpy(event.frames[0], header, sizeof header);
    event.bytes[0] = sizeof header;
    return event;
}

static void change_payload(struct event *event, struct rng *rng)
{
    if (event->frame_count == 1 || rng_below(rng, 8) == 0) {
        if (event->frame_count <= WIRE_PAYLOADS_MAX)
            put_frame(event, (struct fuzz_input){event->frames[0], 8 * rng_below(rng, 4)});
        return;
    }
    if (rng_below(rng, 16) == 0) {
        event->frame_count--;
        return;
    }
    unsigned place = 1 + (unsigned)rng_below(rng, event->frame_count - 1);
    size_t *bytes = &event->bytes[place];
    if (rng_below(rng, 4) == 0) {
        *bytes = 4 * rng_below(rng, 16);
    } else {
        *bytes = LLVMFuzzerMutate(event->frames[place], *bytes, FRAME_BYTES_MAX);
    }
}

static void change_events(struct rng *rng)
{
    size_t place = count == 0 ? 0 : rng_below(rng, count);
    struct event *event = &events[place];
    uint64_t choice = count == 0 ? 0 : rng_below(rng, 16);
    if (choice <= 2 && count < EVENTS_MAX) { /* a new one, or one again */
        struct event added = choice == 0 || count == 0 ? new_event(rng) : *event;
        memmove(event + 1, event, (count - place) * sizeof *event);
        *event = added;
        count++;
    } else if (choice == 3) {
        memmove(event, event + 1, (--count - place) * sizeof *event);
    } else if (choice == 4) {
        struct event *other = &events[rng_below(rng, count)], swapped = *event;
        *event = *other;
        *other = swapped;
    } else if (choice == 5) {
        event->kind = (uint8_t)rng_u64(rng);
    } else if (choice == 6) {
        event->pause = (uint8_t)rng_u64(rng);
    } else if (choice <= 9) {
        change_payload(event, rng);
    } else {
        event->bytes[0] = mutate_message(&anthill__envelope__descriptor, event->frames[0],
                                         event->bytes[0], FRAME_BYTES_MAX, rng);
    }
}

/* The first byte is the target's own. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t bytes_max, unsigned seed)
{
    struct rng rng = rng_make(seed);
    if (bytes < 1 || rng_below(&rng, 8) == 0) return LLVMFuzzerMutate(data, bytes, bytes_max);
    parse((struct fuzz_input){data + 1, bytes - 1});
    for (uint64_t changes = 1 + rng_below(&rng, 3); changes > 0; changes--)
        change_events(&rng);
    return 1 + write_out(data + 1, bytes_max - 1);
}
