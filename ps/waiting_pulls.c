#include "ps/waiting_pulls.h"

#include <stdlib.h>
#include <string.h>

void waiting_pulls_deinit(struct waiting_pulls *pulls)
{
    for (uint32_t i = 0; i < pulls->count; i++)
        free(pulls->items[i].keys);
    free(pulls->items);
    *pulls = (struct waiting_pulls){0};
}

struct waiting_pull *waiting_pulls_find(const struct waiting_pulls *pulls, uint64_t session,
                                        uint64_t request)
{
    for (uint32_t i = 0; i < pulls->count; i++) {
        if (pulls->items[i].session == session && pulls->items[i].request == request) {
            return &pulls->items[i];
        }
    }
    return NULL;
}

enum status waiting_pulls_add(struct waiting_pulls *pulls, const struct waiting_pull *pull,
                              const uint64_unaligned *keys)
{
    uint64_t bytes = (uint64_t)pull->key_count * sizeof *pull->keys;
    if (bytes > WAITING_BYTES_MAX - pulls->bytes) return STATUS_BUSY;
    if (pulls->count == pulls->capacity) {
        uint32_t capacity = pulls->capacity == 0 ? 16 : pulls->capacity * 2;
        struct waiting_pull *items = realloc(pulls->items, capacity * sizeof *items);
        if (items == NULL) return STATUS_NOMEM;
        pulls->items = items;
        pulls->capacity = capacity;
    }
    uint64_t *copy = malloc(bytes);
    if (copy == NULL) return STATUS_NOMEM;
    memcpy(copy, keys, bytes);
    pulls->items[pulls->count] = *pull;
    pulls->items[pulls->count++].keys = copy;
    pulls->bytes += bytes;
    return STATUS_OK;
}

void waiting_pulls_remove(struct waiting_pulls *pulls, uint32_t place)
{
    struct waiting_pull *item = &pulls->items[place];
    pulls->bytes -= (uint64_t)item->key_count * sizeof *item->keys;
    free(item->keys);
    memmove(item, item + 1, (pulls->count - place - 1) * sizeof *item);
    pulls->count--;
}
