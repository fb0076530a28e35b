#include "ps/session_set.h"

#include <stdlib.h>
#include <string.h>

void session_set_deinit(struct session_set *set)
{
    free(set->items);
    *set = (struct session_set){0};
}

/* The first session whose number is not below `id`. */
static uint32_t lower_bound(const struct session_set *set, uint64_t id)
{
    uint32_t begin = 0, end = set->count;
    while (begin < end) {
        uint32_t middle = begin + (end - begin) / 2;
        if (set->items[middle].id < id) {
            begin = middle + 1;
        } else {
            end = middle;
        }
    }
    return begin;
}

struct session *session_set_find(const struct session_set *set, uint64_t id)
{
    uint32_t place = lower_bound(set, id);
    return place < set->count && set->items[place].id == id ? &set->items[place] : NULL;
}

enum status session_set_add(struct session_set *set, uint64_t id, struct session **session)
{
    uint32_t place = lower_bound(set, id);
    if (place < set->count && set->items[place].id == id) {
        *session = &set->items[place];
        return STATUS_OK;
    }
    if (set->count == SESSIONS_MAX) return STATUS_BUSY;
    if (set->count == set->capacity) {
        uint32_t capacity = set->capacity == 0 ? 16 : set->capacity * 2;
        struct session *items = realloc(set->items, capacity * sizeof *items);
        if (items == NULL) return STATUS_NOMEM;
        set->items = items;
        set->capacity = capacity;
    }
    *session = &set->items[place];
    memmove(*session + 1, *session, (set->count - place) * sizeof **session);
    **session = (struct session){.id = id};
    set->count++;
    return STATUS_OK;
}

void session_set_expire(struct session_set *set, struct session *session)
{
    if (session->id > set->expired_highest) set->expired_highest = session->id;
    size_t after = (size_t)(set->items + set->count - (session + 1));
    memmove(session, session + 1, after * sizeof *session);
    set->count--;
}

void session_set_forget(struct session_set *set, uint64_t id)
{
    struct session *session = session_set_find(set, id);
    if (session != NULL) {
        session_set_expire(set, session);
    } else if (id > set->expired_highest) {
        set->expired_highest = id;
    }
}

bool session_set_may_have_expired(const struct session_set *set, uint64_t id)
{
    return id <= set->expired_highest;
}
