/* The network: connections as ZeroMQ makes them (a dealer that connects, a router that knows it by
 * a number until either end starts again), with messages that are lost, repeated, late and out of
 * order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "tests/sim/sim.h"

enum { ANYWHERE = UINT32_MAX };

struct connection {
    uint32_t process, thread, port; /* where it leads; process ANYWHERE: nowhere yet */
    char endpoint[ENDPOINT_BYTES];
    uint64_t resets;
    uint64_t clogged_until_ns;
};

struct packet {
    uint64_t due_ns, order;
    uint32_t process, slot; /* of the connection */
    bool back;              /* from where it leads */
    /* What it was sent over; another one since: it is lost. */
    uint64_t generation, resets;
    uint32_t port;
    uint32_t tries;
    struct message message;
};

static struct net {
    struct connection connections[PROCESSES_MAX][CONNECTIONS_MAX];
    struct {
        uint64_t until_ns;
        bool lost;
    } parted[PROCESSES_MAX][PROCESSES_MAX];
    struct packet **heap; /* by due_ns, then order */
    uint32_t count, capacity;
    uint64_t order;
} net;

void net_init(void)
{
    net = (struct net){0};
    for (uint32_t i = 0; i < PROCESSES_MAX; i++) {
        for (uint32_t slot = 0; slot < CONNECTIONS_MAX; slot++)
            net.connections[i][slot].process = ANYWHERE;
    }
}

static void packet_free(struct packet *packet)
{
    wire_message_deinit(&packet->message);
    free(packet);
}

void net_deinit(void)
{
    for (uint32_t i = 0; i < net.count; i++)
        packet_free(net.heap[i]);
    free(net.heap);
    net = (struct net){0};
}

/* ---- packets by time ------------------------------------------------------------------------ */

static bool earlier(const struct packet *a, const struct packet *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

static void heap_put(struct packet *packet)
{
    if (net.count == net.capacity) {
        net.capacity = net.capacity * 2 + 64;
        net.heap = realloc(net.heap, net.capacity * sizeof *net.heap);
        CHECK(net.heap != NULL);
    }
    packet->order = net.order++;
    uint32_t place = net.count++;
    for (; place > 0 && earlier(packet, net.heap[(place - 1) / 2]); place = (place - 1) / 2)
        net.heap[place] = net.heap[(place - 1) / 2];
    net.heap[place] = packet;
}

static struct packet *heap_take(void)
{
    struct packet *first = net.heap[0], *last = net.heap[--net.count];
    uint32_t place = 0;
    for (uint32_t child; (child = 2 * place + 1) < net.count; place = child) {
        if (child + 1 < net.count && earlier(net.heap[child + 1], net.heap[child])) child++;
        if (!earlier(net.heap[child], last)) break;
        net.heap[place] = net.heap[child];
    }
    if (net.count > 0) net.heap[place] = last;
    return first;
}

uint64_t net_due(void)
{
    return net.count == 0 ? UINT64_MAX : net.heap[0]->due_ns;
}

/* ---- connections ---------------------------------------------------------------------------- */

/* A server that starts again listens on other ports half of the time. */
static uint32_t port_of(const struct process *process)
{
    return process->role == ROLE_SERVER ? (uint32_t)(process->generation / 2) : 0;
}

void net_endpoint(const struct process *process, uint32_t thread, char endpoint[ENDPOINT_BYTES])
{
    snprintf(endpoint, ENDPOINT_BYTES, "tcp://%s:%u-%u", process->name, thread, port_of(process));
}

void net_connect(struct process *process, uint32_t slot, const char *endpoint)
{
    struct connection *connection = &net.connections[process->index][slot];
    if (strcmp(connection->endpoint, endpoint) == 0) return;
    snprintf(connection->endpoint, sizeof connection->endpoint, "%s", endpoint);
    connection->resets++;
    for (uint32_t i = 0; i < sim.process_count; i++) {
        const struct process *other = &sim.processes[i];
        size_t length = strlen(other->name);
        if (strncmp(endpoint + 6, other->name, length) != 0 || endpoint[6 + length] != ':')
            continue;
        connection->process = i;
        char *end;
        connection->thread = (uint32_t)strtoul(endpoint + 7 + length, &end, 10);
        connection->port = (uint32_t)strtoul(end + 1, NULL, 10);
        return;
    }
    sim_fail("%s is no endpoint of this run", endpoint);
}

/* The router's number of a connection: another one after each start of either end. */
static uint64_t peer_of(uint32_t process, uint32_t slot, const struct process *router)
{
    const struct connection *connection = &net.connections[process][slot];
    uint64_t life = router->generation * 1000 + sim.processes[process].generation;
    return 1 + slot + 16 * (process + 16 * (connection->resets + 4096 * life));
}

static bool is_clogged(const struct connection *connection)
{
    return sim.now_ns < connection->clogged_until_ns;
}

/* ---- sending -------------------------------------------------------------------------------- */

static struct frame copy_frame(const struct frame *frame)
{
    struct frame copy = frame_create(frame->bytes);
    CHECK(copy.data != NULL);
    memcpy(copy.data, frame->data, frame->bytes);
    return copy;
}

static void put(const struct packet *like, const struct message *message)
{
    struct packet *packet = malloc(sizeof *packet);
    CHECK(packet != NULL);
    *packet = *like;
    packet->message = (struct message){.header = copy_frame(&message->header),
                                       .payload_count = message->payload_count};
    for (unsigned i = 0; i < message->payload_count; i++)
        packet->message.payload[i] = copy_frame(&message->payload[i]);
    bool late = sim_chance(sim.reorder);
    packet->due_ns = sim.now_ns + 50000 + sim_between(0, late ? sim.delay_ns : sim.delay_ns / 16);
    heap_put(packet);
}

static void transmit(uint32_t process, uint32_t slot, bool back, struct message *message)
{
    const struct connection *connection = &net.connections[process][slot];
    struct packet packet = {.process = process,
                            .slot = slot,
                            .back = back,
                            .generation = sim.processes[process].generation,
                            .resets = connection->resets,
                            .port = connection->port};
    if (!sim_chance(sim.loss)) put(&packet, message);
    if (sim_chance(sim.repeat)) put(&packet, message);
    wire_message_deinit(message);
}

enum status net_send(struct process *process, uint32_t slot, struct message *message)
{
    const struct connection *connection = &net.connections[process->index][slot];
    CHECK(connection->process != ANYWHERE);
    if (process->dying) {
        wire_message_deinit(message);
        return STATUS_OK;
    }
    if (is_clogged(connection)) return STATUS_BUSY;
    transmit(process->index, slot, false, message);
    return STATUS_OK;
}

enum status net_reply(struct process *process, uint32_t thread, struct message *message)
{
    uint32_t slot = (uint32_t)((message->peer - 1) % 16);
    uint32_t owner = (uint32_t)((message->peer - 1) / 16 % 16);
    (void)thread;
    if (process->dying || owner >= sim.process_count || slot >= CONNECTIONS_MAX ||
        peer_of(owner, slot, process) != message->peer || !sim.processes[owner].up) {
        wire_message_deinit(message);
        return STATUS_UNAVAILABLE;
    }
    if (is_clogged(&net.connections[owner][slot])) return STATUS_BUSY;
    transmit(owner, slot, true, message);
    return STATUS_OK;
}

/* ---- arriving ------------------------------------------------------------------------------- */

static void arrive(struct packet *packet, struct process *to, uint32_t thread)
{
    struct message *message = &packet->message;
    struct error error = {0};
    if (wire_unpack(message, &error) != STATUS_OK) sim_fail("%s", error.text);
    sim.current = to;
    (void)process_step();
    if (!to->dying) {
        sim_trace_message(to, packet->back ? "hears" : "takes", message->envelope);
        if (to->role == ROLE_COORDINATOR) {
            coordinator_receive(to, message);
        } else if (to->role == ROLE_SERVER && packet->back) {
            server_hear(to, packet->slot, message);
        } else if (to->role == ROLE_SERVER) {
            server_receive(to, thread, message);
        } else {
            worker_receive(to, packet->slot, message);
        }
    }
    sim.current = NULL;
}

/* True: it waits, or is lost. */
static bool is_held_up(struct packet *packet, uint32_t from, const struct process *to, bool there)
{
    uint64_t until_ns = net.parted[from][to->index].until_ns;
    if (until_ns > sim.now_ns) {
        if (net.parted[from][to->index].lost) return true;
        packet->due_ns = until_ns;
    } else if (!there) {
        /* A dealer keeps what it has not sent until the other end is there. */
        if (packet->back || packet->tries++ > 20 || sim_chance(300)) return true;
        packet->due_ns = sim.now_ns + 200 * SIM_MS;
    } else if (to->paused_until_ns > sim.now_ns) {
        packet->due_ns = to->paused_until_ns;
    } else {
        return false;
    }
    heap_put(packet);
    return true;
}

void net_deliver(void)
{
    struct packet *packet = heap_take();
    const struct connection *connection = &net.connections[packet->process][packet->slot];
    bool same = sim.processes[packet->process].generation == packet->generation &&
                connection->resets == packet->resets && sim.processes[packet->process].up;
    if (!same) {
        packet_free(packet);
        return;
    }
    struct process *router = &sim.processes[connection->process];
    struct process *to = packet->back ? &sim.processes[packet->process] : router;
    uint32_t from = packet->back ? connection->process : packet->process;
    bool there = packet->back ? to->up : (to->up && packet->port == port_of(to));
    uint32_t count = net.count;
    if (is_held_up(packet, from, to, there)) {
        if (net.count == count) packet_free(packet);
        return;
    }
    if (!packet->back) packet->message.peer = peer_of(packet->process, packet->slot, router);
    arrive(packet, to, connection->thread);
    packet_free(packet);
}

/* ---- faults --------------------------------------------------------------------------------- */

void net_part(uint32_t from, uint32_t to, uint64_t until_ns, bool lost)
{
    net.parted[from][to].until_ns = until_ns;
    net.parted[from][to].lost = lost;
}

void net_clog(uint32_t process, uint32_t slot, uint64_t until_ns)
{
    net.connections[process][slot].clogged_until_ns = until_ns;
}

void net_reset(uint32_t process, uint32_t slot)
{
    net.connections[process][slot].resets++;
}
