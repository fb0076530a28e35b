/* What of anthill-sim-canary is wrong beyond canary.h, in calls that the linker wraps there. */
#include "tests/sim/sim.h"

#ifdef SIM_CANARY
#include "common/check.h"
#include "ps/replica.h"

void __real_replica_take(struct replica *replica, struct message *message, struct outbox *peers);
void __wrap_replica_take(struct replica *replica, struct message *message, struct outbox *peers);
void __real_replica_refuse(const struct message *message, enum status status, struct outbox *peers);
void __wrap_replica_refuse(const struct message *message, enum status status, struct outbox *peers);

/* No fence: who is told that another is primary by now hears that its change was taken. */
static void admit(struct message *reply, uint64_t index)
{
    struct message admitted = {.peer = reply->peer};
    CHECK(wire_unpack(reply, NULL) == STATUS_OK);
    Anthill__ReplicateReply *body = reply->envelope->replicate_reply;
    if (body->status == STATUS_DENIED) {
        body->status = STATUS_OK;
        body->index = index;
    }
    CHECK(wire_pack(&admitted, reply->peer, reply->envelope, NULL, 0) == STATUS_OK);
    wire_message_deinit(reply);
    *reply = admitted;
}

void __wrap_replica_take(struct replica *replica, struct message *message, struct outbox *peers)
{
    uint64_t index = message->envelope->replicate->index;
    unsigned first = peers->count;
    __real_replica_take(replica, message, peers);
    for (unsigned i = first; sim.canary == CANARY_NO_FENCE && i < peers->count; i++)
        admit(&peers->messages[i], index);
}

void __wrap_replica_refuse(const struct message *message, enum status status, struct outbox *peers)
{
    unsigned first = peers->count;
    __real_replica_refuse(message, status, peers);
    for (unsigned i = first; sim.canary == CANARY_NO_FENCE && i < peers->count; i++)
        admit(&peers->messages[i], message->envelope->replicate->index);
}
#endif
