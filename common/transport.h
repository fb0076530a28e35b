/* Sockets that carry messages. ZeroMQ is behind it, in transport_zmq.c and nowhere else.
 * thread: a transport belongs to the thread that created it. */
#ifndef ANTHILL_COMMON_TRANSPORT_H
#define ANTHILL_COMMON_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/wire.h"

struct transport;

/* Listens (ROUTER). `endpoint` is tcp://HOST:PORT (port * or 0: the system chooses) or ipc://PATH.
 * An ipc path that another socket left behind is taken over.
 *   errors   STATUS_UNAVAILABLE "tcp://...: address already in use"; STATUS_USAGE for a bad
 *            endpoint or an ipc path that the system cannot hold; STATUS_DENIED;
 *            STATUS_NOT_FOUND for an ipc path in a folder that is not there
 *   owner    transport_close */
enum status transport_listen(struct transport **transport, const char *endpoint,
                             struct error *error) MUST_CHECK;

/* Connects (DEALER). Succeeds before the peer is there: messages wait until it is.
 * Heartbeats every second; a peer silent for 3 s is dropped and connected to again. */
enum status transport_connect(struct transport **transport, const char *endpoint,
                              struct error *error) MUST_CHECK;

/* Unsent messages are kept for at most 200 ms. The endpoint is surely free again only after
 * transport_shutdown. NULL does nothing. */
void transport_close(struct transport *transport);

/* Where it listens, with the port that the system chose; or what it connects to. */
const char *transport_endpoint(const struct transport *transport);

/* Takes the message on STATUS_OK: it is empty afterwards, its frames are sent without a copy.
 *   errors   STATUS_BUSY: the peer's queue is full, the message is kept; STATUS_UNAVAILABLE: a
 *            listening transport no longer knows the peer, the message is released */
enum status transport_send(struct transport *transport, struct message *message) MUST_CHECK;

/* The next message that has arrived, unpacked. Malformed and oversized messages are dropped and
 * counted (see transport_malformed_count).
 *   errors   STATUS_BUSY: nothing has arrived */
enum status transport_receive(struct transport *transport, struct message *message) MUST_CHECK;

/* Messages dropped because they were malformed or too large. */
uint64_t transport_malformed_count(const struct transport *transport);

/* Waits until one of `transports` has a message, a signal arrives or the time is over; the time is
 * rounded up to milliseconds and may be 0. Returns true when a message waits. */
bool transport_poll(struct transport *const *transports, unsigned count, uint64_t timeout_ns);

/* Frees the process-wide ZeroMQ context; every transport must be closed. At exit of a program. */
void transport_shutdown(void);

#endif
