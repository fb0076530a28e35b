#include "common/wire.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"

/* Unpacked memory per byte of a header, and a base for small ones. Honest messages stay below 20
 * (a Metric with a short name); empty submessages, two bytes each, would need 50 and more. */
#define BUDGET_FACTOR 32
#define BUDGET_BASE   4096
#define BUDGET_GRAIN  16 /* what malloc hands out at least */

static void release_with_free(void *data, void *hint)
{
    (void)hint;
    free(data);
}

struct frame frame_create(size_t bytes)
{
    struct frame frame = {.bytes = bytes, .release = release_with_free};
    size_t rounded = (bytes + 63) & ~(size_t)63;
    if (rounded < bytes) return (struct frame){0};
    frame.data = aligned_alloc(64, rounded == 0 ? 64 : rounded);
    if (frame.data == NULL) return (struct frame){0};
    return frame;
}

/* Stands before the bytes of a frame that is shared. */
struct shared_bytes {
    _Alignas(64) atomic_uint handles;
};

static void release_shared(void *data, void *hint)
{
    struct shared_bytes *bytes = hint;
    (void)data;
    if (atomic_fetch_sub(&bytes->handles, 1) == 1) free(bytes);
}

struct frame frame_create_shared(size_t bytes)
{
    size_t rounded = (bytes + 63) & ~(size_t)63;
    if (rounded < bytes || rounded > SIZE_MAX - sizeof(struct shared_bytes)) {
        return (struct frame){0};
    }
    struct shared_bytes *shared = aligned_alloc(64, sizeof *shared + rounded);
    if (shared == NULL) return (struct frame){0};
    atomic_init(&shared->handles, 1);
    return (struct frame){
        .data = shared + 1, .bytes = bytes, .release = release_shared, .hint = shared};
}

struct frame frame_share(const struct frame *frame)
{
    if (frame->hint == NULL) return (struct frame){0};
    atomic_fetch_add(&((struct shared_bytes *)frame->hint)->handles, 1);
    return *frame;
}

void frame_release(struct frame *frame)
{
    if (frame->release != NULL) frame->release(frame->data, frame->hint);
    *frame = (struct frame){0};
}

static void frames_release(struct frame *frames, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        frame_release(&frames[i]);
    }
}

enum status wire_pack(struct message *message, uint64_t peer, Anthill__Envelope *envelope,
                      struct frame *payload, unsigned payload_count)
{
    CHECK(payload_count <= WIRE_PAYLOADS_MAX);
    *message = (struct message){.peer = peer};
    envelope->version = WIRE_VERSION;
    size_t bytes = anthill__envelope__get_packed_size(envelope);
    struct frame header = {0};
    if (bytes <= WIRE_HEADER_BYTES_MAX) header = frame_create(bytes);
    if (header.data == NULL) {
        frames_release(payload, payload_count);
        return bytes > WIRE_HEADER_BYTES_MAX ? STATUS_INVALID : STATUS_NOMEM;
    }
    anthill__envelope__pack(envelope, header.data);
    message->header = header;
    message->payload_count = payload_count;
    for (unsigned i = 0; i < payload_count; i++) {
        message->payload[i] = payload[i];
        payload[i] = (struct frame){0};
    }
    return STATUS_OK;
}

/* Hands out malloc's memory until the budget is spent, so that what it gave can be freed without
 * it. */
struct budget {
    size_t bytes_left;
};

static void *budget_alloc(void *data, size_t bytes)
{
    struct budget *budget = data;
    size_t cost = (bytes + BUDGET_GRAIN - 1) / BUDGET_GRAIN * BUDGET_GRAIN;
    if (cost < bytes || cost > budget->bytes_left) return NULL;
    budget->bytes_left -= cost;
    return malloc(bytes);
}

static void budget_free(void *data, void *pointer)
{
    (void)data;
    free(pointer);
}

ProtobufCMessage *wire_unpack_bytes(const ProtobufCMessageDescriptor *type, const void *data,
                                    size_t bytes)
{
    struct budget budget = {.bytes_left = BUDGET_BASE + BUDGET_FACTOR * bytes};
    ProtobufCAllocator allocator = {
        .alloc = budget_alloc, .free = budget_free, .allocator_data = &budget};
    return protobuf_c_message_unpack(type, &allocator, bytes, data);
}

enum status wire_unpack(struct message *message, struct error *error)
{
    if (message->envelope != NULL) anthill__envelope__free_unpacked(message->envelope, NULL);
    message->envelope = NULL;
    size_t bytes = message->header.bytes;
    if (bytes > WIRE_HEADER_BYTES_MAX) {
        return error_set(error, STATUS_CORRUPT, "message header of %zu bytes; at most %u expected",
                         bytes, WIRE_HEADER_BYTES_MAX);
    }
    Anthill__Envelope *envelope = (Anthill__Envelope *)wire_unpack_bytes(
        &anthill__envelope__descriptor, message->header.data, bytes);
    if (envelope == NULL) {
        return error_set(error, STATUS_CORRUPT, "message header of %zu bytes is no Envelope",
                         bytes);
    }
    uint32_t version = envelope->version;
    bool has_body = envelope->body_case != ANTHILL__ENVELOPE__BODY__NOT_SET;
    if (version == WIRE_VERSION && has_body) {
        message->envelope = envelope;
        return STATUS_OK;
    }
    anthill__envelope__free_unpacked(envelope, NULL);
    if (version != WIRE_VERSION) {
        return error_set(error, STATUS_CORRUPT, "message of wire version %u; %u expected", version,
                         WIRE_VERSION);
    }
    return error_set(error, STATUS_CORRUPT, "message without a body that this version knows");
}

void *wire_copy(const ProtobufCMessage *body)
{
    size_t bytes = protobuf_c_message_get_packed_size(body);
    uint8_t *packed = malloc(bytes + 1);
    if (packed == NULL) return NULL;
    protobuf_c_message_pack(body, packed);
    void *copy = protobuf_c_message_unpack(body->descriptor, NULL, bytes, packed);
    free(packed);
    return copy;
}

void wire_message_deinit(struct message *message)
{
    if (message->envelope != NULL) anthill__envelope__free_unpacked(message->envelope, NULL);
    frame_release(&message->header);
    frames_release(message->payload, message->payload_count);
    *message = (struct message){0};
}

void outbox_append(struct outbox *outbox, struct message *message)
{
    if (outbox->count == outbox->capacity) {
        unsigned capacity = outbox->capacity == 0 ? 16 : outbox->capacity * 2;
        struct message *messages = realloc(outbox->messages, capacity * sizeof *messages);
        CHECK(messages != NULL);
        outbox->messages = messages;
        outbox->capacity = capacity;
    }
    outbox->messages[outbox->count++] = *message;
    *message = (struct message){0};
}

void outbox_put(struct outbox *outbox, uint64_t peer, Anthill__Envelope *envelope,
                struct frame *payload, unsigned payload_count)
{
    struct message message;
    enum status status = wire_pack(&message, peer, envelope, payload, payload_count);
    CHECK(status == STATUS_OK);
    outbox_append(outbox, &message);
}

void outbox_put_error(struct outbox *outbox, uint64_t peer, uint64_t request,
                      const struct error *error)
{
    Anthill__ErrorReply reply = ANTHILL__ERROR_REPLY__INIT;
    reply.status = (uint32_t)error->status;
    reply.text = (char *)error->text;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.request = request;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_ERROR;
    envelope.error = &reply;
    outbox_put(outbox, peer, &envelope, NULL, 0);
}

void outbox_clear(struct outbox *outbox)
{
    for (unsigned i = 0; i < outbox->count; i++) {
        wire_message_deinit(&outbox->messages[i]);
    }
    outbox->count = 0;
}

void outbox_deinit(struct outbox *outbox)
{
    outbox_clear(outbox);
    free(outbox->messages);
    *outbox = (struct outbox){0};
}

enum status wire_error(const Anthill__Envelope *envelope, struct error *error)
{
    if (envelope->body_case != ANTHILL__ENVELOPE__BODY_ERROR) return STATUS_OK;
    const Anthill__ErrorReply *reply = envelope->error;
    if (reply->status == STATUS_OK || reply->status > STATUS_LAST) {
        return error_set(error, STATUS_CORRUPT, "error reply with unknown status %u: %s",
                         reply->status, reply->text);
    }
    return error_set(error, (enum status)reply->status, "%s", reply->text);
}
