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

static uint64_t list_bytes(uint32_t key_count, bool numbers)
{
    return (uint64_t)key_count * (sizeof(uint64_t) + (numbers ? sizeof(uint32_t) : 0));
}

enum status waiting_pulls_add(struct waiting_pulls *pulls, const struct waiting_pull *pull,
                              const uint64_unaligned *keys, const void *numbers)
{
    uint64_t bytes = list_bytes(pull->key_count, numbers != NULL);
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
    memcpy(copy, keys, list_bytes(pull->key_count, false));
    struct waiting_pull *added = &pulls->items[pulls->count++];
    *added = *pull;
    added->keys = copy;
    added->numbers = NULL;
    if (numbers != NULL) {
        added->numbers = (uint32_t *)(void *)(copy + pull->key_count);
        memcpy(added->numbers, numbers, pull->key_count * sizeof *added->numbers);
    }
    pulls->bytes += bytes;
    return STATUS_OK;
}

void waiting_pulls_remove(struct waiting_pulls *pulls, uint32_t place)
{
    struct waiting_pull *item = &pulls->items[place];
    pulls->bytes -= list_bytes(item->key_count, item->numbers != NULL);
    free(item->keys);
    memmove(item, item + 1, (pulls->count - place - 1) * sizeof *item);
    pulls->count--;
}
