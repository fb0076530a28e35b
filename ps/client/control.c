#include "ps/client/control.h"

#include <stdlib.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/program.h"
#include "common/transport.h"

#define RESEND_NS NS_PER_S
#define TURN_NS   (100 * NS_PER_MS) /* how often a stop request is looked for */

struct control {
    struct transport *transport;
    uint64_t session, timeout_ns, request;
};

enum status control_open(struct control **control, const char *coordinator, uint64_t session,
                         uint64_t timeout_ns, struct error *error)
{
    *control = NULL;
    struct control *opened = calloc(1, sizeof *opened);
    if (opened == NULL) return error_set(error, STATUS_NOMEM, "no memory for a connection");
    opened->session = session;
    opened->timeout_ns = timeout_ns;
    opened->request = clock_wall_ns(); /* no two connections of a session repeat a number */
    enum status status = transport_connect(&opened->transport, coordinator, error);
    if (status != STATUS_OK) {
        free(opened);
        return error_wrap(error, status, "coordinator");
    }
    *control = opened;
    return STATUS_OK;
}

void control_close(struct control *control)
{
    if (control == NULL) return;
    transport_close(control->transport);
    free(control);
}

/* Answers to earlier copies of earlier requests may still arrive: they are dropped. */
static bool take_reply(struct control *control, struct message *reply)
{
    while (transport_receive(control->transport, reply) == STATUS_OK) {
        if (reply->envelope->request == control->request) return true;
        wire_message_deinit(reply);
    }
    return false;
}

static enum status send_request(struct control *control, Anthill__Envelope *request,
                                struct error *error)
{
    struct message message;
    enum status status = wire_pack(&message, 0, request, NULL, 0);
    if (status != STATUS_OK) return error_set(error, status, "the request is too large to send");
    /* A full queue means that copies of this request are waiting in it already. */
    if (transport_send(control->transport, &message) != STATUS_OK) wire_message_deinit(&message);
    return STATUS_OK;
}

enum status control_call(struct control *control, Anthill__Envelope *request, struct message *reply,
                         struct error *error)
{
    *reply = (struct message){0};
    request->request = ++control->request;
    request->session = control->session;
    uint64_t start_ns = clock_now_ns();
    uint64_t due_ns = start_ns;
    for (;;) {
        uint64_t now_ns = clock_now_ns();
        if (now_ns - start_ns > control->timeout_ns) {
            return error_set(error, STATUS_UNAVAILABLE,
                             "coordinator at %s has not answered for %.1f s",
                             transport_endpoint(control->transport),
                             (double)control->timeout_ns / (double)NS_PER_S);
        }
        /* After a stop request what is said (a lease is done, goodbye) still gets one second. */
        if (program_stop_requested() && now_ns - start_ns >= RESEND_NS)
            return error_set(error, STATUS_STOPPED, "asked to stop");
        if (now_ns >= due_ns) {
            enum status status = send_request(control, request, error);
            if (status != STATUS_OK) return status;
            due_ns = now_ns + RESEND_NS;
        }
        uint64_t left_ns = start_ns + control->timeout_ns - now_ns;
        transport_poll(&control->transport, 1, left_ns < TURN_NS ? left_ns : TURN_NS);
        if (take_reply(control, reply)) break;
    }
    enum status status = wire_error(reply->envelope, error);
    if (status != STATUS_OK) wire_message_deinit(reply);
    return status;
}
