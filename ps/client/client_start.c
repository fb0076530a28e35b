/* Requests as they start: each is cut into parts, which wait in their links. */
#include <stdlib.h>

#include "ps/client/client_state.h"

/* A request in the list, without parts; NULL when memory is used up. */
static struct request *request_create(struct client_core *core, const struct part *model,
                                      uint64_t *ticket)
{
    *ticket = core->ticket_next++;
    struct request *request = calloc(1, sizeof *request);
    if (request == NULL) return NULL;
    request->ticket = *ticket;
    request->kind = model->kind;
    request->layout = core->layouts[model->table];
    request->next = core->requests;
    if (core->requests != NULL) core->requests->previous = request;
    core->requests = request;
    return request;
}

/* `caller` has what is the caller's: rows, grads, versions. */
static enum status request_start(struct client_core *core, struct part *model,
                                 const struct request *caller, const uint64_t *keys,
                                 uint32_t key_count, uint64_t *ticket, struct error *error)
{
    if (core->options.trains && !model->read_only) {
        client_session_enter(core);
        model->clock = core->clock;
        model->awaits_entry = core->trainer == TRAINER_ENTERING;
    }
    struct request *request = request_create(core, model, ticket);
    if (request == NULL) return error_set(error, STATUS_NOMEM, "no memory for a request");
    request->rows = caller->rows;
    request->grads = caller->grads;
    request->versions = caller->versions;
    request->encoding = model->encoding;
    enum status status =
        request_cut(request, &core->cut, &core->shared.pool, model, keys, key_count, error);
    if (status != STATUS_OK || request->parts_left == 0) client_core_request_free(core, request);
    return status;
}

static enum status check_table(const struct client_core *core, uint32_t table, bool dense,
                               struct error *error)
{
    if (table < core->shared.table_count && dense == (core->layouts[table]->dim == 0)) {
        return STATUS_OK;
    }
    return error_set(error, STATUS_INVALID, "there is no %s table of number %u",
                     dense ? "dense" : "sparse", table);
}

enum status client_core_pull(struct client_core *core, uint32_t table, const uint64_t *keys,
                             uint32_t key_count, float *rows, bool read_only, uint64_t *ticket,
                             struct error *error)
{
    enum status status = check_table(core, table, false, error);
    if (status != STATUS_OK) return status;
    struct part model = {.kind = PART_PULL,
                         .table = table,
                         .encoding = core->layouts[table]->encoding,
                         .read_only = read_only};
    return request_start(core, &model, &(struct request){.rows = rows}, keys, key_count, ticket,
                         error);
}

enum status client_core_pull_newer(struct client_core *core, uint32_t table, const uint64_t *keys,
                                   uint32_t key_count, uint32_t behind, float *rows,
                                   uint32_t *versions, bool read_only, uint64_t *ticket,
                                   struct error *error)
{
    enum status status = check_table(core, table, false, error);
    if (status != STATUS_OK) return status;
    struct part model = {.kind = PART_PULL,
                         .table = table,
                         .encoding = core->layouts[table]->encoding,
                         .read_only = read_only,
                         .conditional = true,
                         .behind = behind,
                         .restarts = core->shared.restarts};
    const struct request caller = {.rows = rows, .versions = versions};
    return request_start(core, &model, &caller, keys, key_count, ticket, error);
}

uint64_t client_core_restarts(const struct client_core *core)
{
    return core->shared.restarts;
}

enum status client_core_push(struct client_core *core, uint32_t table, const uint64_t *keys,
                             uint32_t key_count, const float *grads, float rate_scale,
                             uint64_t *ticket, struct error *error)
{
    enum status status = check_table(core, table, false, error);
    if (status != STATUS_OK) return status;
    struct part model = {.kind = PART_PUSH,
                         .table = table,
                         .encoding = core->layouts[table]->encoding,
                         .rate_scale = rate_scale};
    return request_start(core, &model, &(struct request){.grads = grads}, keys, key_count, ticket,
                         error);
}

enum status client_core_assign(struct client_core *core, uint32_t table, const uint64_t *keys,
                               uint32_t key_count, const float *values, uint64_t *ticket,
                               struct error *error)
{
    enum status status = check_table(core, table, false, error);
    if (status != STATUS_OK) return status;
    struct part model = {.kind = PART_ASSIGN, .table = table, .read_only = true};
    return request_start(core, &model, &(struct request){.grads = values}, keys, key_count, ticket,
                         error);
}

enum status client_core_delete(struct client_core *core, uint32_t table, const uint64_t *keys,
                               uint32_t key_count, uint64_t *ticket, struct error *error)
{
    enum status status = check_table(core, table, false, error);
    if (status != STATUS_OK) return status;
    struct part model = {.kind = PART_DELETE, .table = table, .read_only = true};
    return request_start(core, &model, &(struct request){0}, keys, key_count, ticket, error);
}

enum status client_core_scan(struct client_core *core, uint32_t table, struct client_scan *scan,
                             uint64_t *keys, uint32_t keys_max, uint32_t *count, uint64_t *ticket,
                             struct error *error)
{
    *count = 0;
    enum status status = check_table(core, table, false, error);
    if (status != STATUS_OK) return status;
    if (scan->shard >= core->cut.link_count) {
        return error_set(error, STATUS_INVALID, "scan of table %s: shard %u of %u",
                         core->shared.tables[table]->name, scan->shard, core->cut.link_count);
    }
    struct part model = {.kind = PART_SCAN, .table = table};
    struct request *request = request_create(core, &model, ticket);
    if (request == NULL) return error_set(error, STATUS_NOMEM, "no memory for a request");
    request->scan = scan;
    request->scan_keys = keys;
    request->scan_count = count;
    request->parts_left = 1;
    struct part *part = part_pool_take(&core->shared.pool);
    part->kind = PART_SCAN;
    part->table = table;
    part->request = request;
    part->link = scan->shard;
    part->cursor = scan->cursor;
    part->key_count = keys_max;
    client_link_add(&core->links[part->link], part);
    return STATUS_OK;
}

enum status client_core_pull_dense(struct client_core *core, uint32_t table, float *values,
                                   uint64_t *ticket, struct error *error)
{
    enum status status = check_table(core, table, true, error);
    if (status != STATUS_OK) return status;
    struct part model = {.kind = PART_PULL, .table = table};
    const struct table_layout *layout = core->layouts[table];
    return request_start(core, &model, &(struct request){.rows = values}, layout->keys,
                         layout->chunk_count, ticket, error);
}

enum status client_core_push_dense(struct client_core *core, uint32_t table, const float *grads,
                                   float rate_scale, uint64_t *ticket, struct error *error)
{
    enum status status = check_table(core, table, true, error);
    if (status != STATUS_OK) return status;
    struct part model = {.kind = PART_PUSH, .table = table, .rate_scale = rate_scale};
    const struct table_layout *layout = core->layouts[table];
    return request_start(core, &model, &(struct request){.grads = grads}, layout->keys,
                         layout->chunk_count, ticket, error);
}
