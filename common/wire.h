/* Messages as the state machines see them: a packed Envelope and raw payload frames. No sockets
 * here. Received frames are not aligned: copy out, never cast. */
#ifndef ANTHILL_COMMON_WIRE_H
#define ANTHILL_COMMON_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/wire.pb-c.h"

#define WIRE_VERSION          1
#define WIRE_PAYLOADS_MAX     2
#define WIRE_HEADER_BYTES_MAX (1u << 20)  /* packed Envelope */
#define WIRE_FRAME_BYTES_MAX  (64u << 20) /* one payload frame */

/* Bytes and how to give them back; release may be NULL for memory that outlives the message. */
struct frame {
    void *data;
    size_t bytes;
    void (*release)(void *data, void *hint);
    void *hint;
};

/* One message. `peer` names the other end of a listening transport; 0 elsewhere. */
struct message {
    uint64_t peer;
    struct frame header; /* packed Envelope */
    struct frame payload[WIRE_PAYLOADS_MAX];
    unsigned payload_count;
    Anthill__Envelope *envelope; /* after wire_unpack; else NULL */
};

/* A heap frame of `bytes` uninitialised bytes aligned to 64, released with free().
 *   errors   data is NULL when memory is used up */
struct frame frame_create(size_t bytes);
void frame_release(struct frame *frame);

/* The same for bytes that are sent more than once: each frame of frame_share is another handle on
 * them, to be released by any thread; the last one frees them. Whoever shares them reads only. */
struct frame frame_create_shared(size_t bytes);
struct frame frame_share(const struct frame *frame);

/* Packs `envelope` (its version is filled in) and takes the payload frames. `envelope` is
 * borrowed.
 *   errors   STATUS_NOMEM; STATUS_INVALID for an Envelope of more than WIRE_HEADER_BYTES_MAX; the
 *            payload frames are released then */
enum status wire_pack(struct message *message, uint64_t peer, Anthill__Envelope *envelope,
                      struct frame *payload, unsigned payload_count) MUST_CHECK;

/* Unpacks message->header into message->envelope with an allocator whose budget is a fixed multiple
 * of the header's size, so that a hostile header cannot grow in memory.
 *   errors   STATUS_CORRUPT for a header that is too large, not an Envelope, of another version, or
 *            without a body */
enum status wire_unpack(struct message *message, struct error *error) MUST_CHECK;

/* Unpacks data[bytes] with the same budget. NULL when it is no message of this type, or memory is
 * used up; else owned: protobuf_c_message_free_unpacked(message, NULL). */
ProtobufCMessage *wire_unpack_bytes(const ProtobufCMessageDescriptor *type, const void *data,
                                    size_t bytes);

/* A copy of any message's body, such as &map->base of a SlotMap.
 *   errors   NULL when memory is used up, or for what this version does not read as it wrote it
 *            (unknown fields of number 0)
 *   owner    returns owned; the type's free_unpacked */
void *wire_copy(const ProtobufCMessage *body);

/* Releases everything; the message is empty afterwards. Safe on a zeroed message. */
void wire_message_deinit(struct message *message);

/* Messages that a state machine wants sent, in order. Zero-initialised is empty. */
struct outbox {
    struct message *messages;
    unsigned count, capacity;
};

/* Packs as wire_pack and appends. Memory that is used up ends the process (CHECK). */
void outbox_put(struct outbox *outbox, uint64_t peer, Anthill__Envelope *envelope,
                struct frame *payload, unsigned payload_count);
/* Takes a message that is packed already. */
void outbox_append(struct outbox *outbox, struct message *message);
/* An ErrorReply to `request`. */
void outbox_put_error(struct outbox *outbox, uint64_t peer, uint64_t request,
                      const struct error *error);
/* Empties it, releasing what was not taken; the array is kept. */
void outbox_clear(struct outbox *outbox);
void outbox_deinit(struct outbox *outbox);

/* ErrorReply -> status and text; STATUS_OK for any other body. */
enum status wire_error(const Anthill__Envelope *envelope, struct error *error);

#endif
