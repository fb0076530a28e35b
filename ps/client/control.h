/* A blocking request to the coordinator and its reply: leases, heartbeats, status. One connection,
 * one request at a time, sent again every second until the deadline: a coordinator that is
 * restarted in place answers late, not never.
 * thread: a control belongs to one thread (the worker's control thread, or a tool). */
#ifndef ANTHILL_PS_CLIENT_CONTROL_H
#define ANTHILL_PS_CLIENT_CONTROL_H

#include <stdint.h>

#include "common/error.h"
#include "common/wire.h"

struct control;

enum status control_open(struct control **control, const char *coordinator, uint64_t session,
                         uint64_t timeout_ns, struct error *error) MUST_CHECK;
void control_close(struct control *control);

/* Sends `request` (its request id and session are filled in) and waits for the reply.
 *   owner    on STATUS_OK the reply is the caller's: wire_message_deinit
 *   errors   STATUS_UNAVAILABLE with the endpoint and the time waited; STATUS_STOPPED a second
 *            after a stop request; an ErrorReply's own status and text */
enum status control_call(struct control *control, Anthill__Envelope *request, struct message *reply,
                         struct error *error) MUST_CHECK;

#endif
