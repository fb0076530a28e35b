#include "ps/slot_map.h"

#include <stdlib.h>

Anthill__SlotMap *slot_map_copy(const Anthill__SlotMap *map)
{
    size_t bytes = anthill__slot_map__get_packed_size(map);
    uint8_t *packed = malloc(bytes + 1);
    if (packed == NULL) return NULL;
    anthill__slot_map__pack(map, packed);
    Anthill__SlotMap *copy = anthill__slot_map__unpack(NULL, bytes, packed);
    free(packed);
    return copy;
}
