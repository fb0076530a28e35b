/* Slot maps as messages have them. Pure. */
#ifndef ANTHILL_PS_SLOT_MAP_H
#define ANTHILL_PS_SLOT_MAP_H

#include "common/wire.pb-c.h"

/*   owner    returns owned; anthill__slot_map__free_unpacked(map, NULL). NULL when memory is used
 * up
 */
Anthill__SlotMap *slot_map_copy(const Anthill__SlotMap *map);

#endif
