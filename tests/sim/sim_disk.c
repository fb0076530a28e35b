/* The run's folder in memory, below /sim, reached by production's own calls on files, which the
 * linker wraps; other paths go to the system. A file has the bytes that processes see and those
 * that are safe; a folder's entries that were changed since it was flushed are in a list of
 * changes. A machine that dies takes back some of what its processes did and did not flush. */
#include "tests/sim/sim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/check.h"
#include "tests/sim/sim_wrap.h"

#define FD_FIRST (1 << 20)

enum { OPEN_FILES_MAX = 64, DEFERRED_MAX = 256 };

struct node;

struct entry {
    char name[DISK_NAME_BYTES];
    struct node *node;
};

struct node {
    struct node *next; /* all of them */
    bool folder;
    uint8_t *bytes, *safe;
    size_t size, capacity, safe_size;
    bool dirty;      /* `bytes` differ from `safe` */
    uint32_t writer; /* the process that wrote last */
    struct entry *entries;
    uint32_t entry_count, entry_capacity;
};

/* A name in a folder that was changed and not flushed. Those of one call share a group. */
struct change {
    struct node *folder;
    char name[DISK_NAME_BYTES];
    struct node *before, *after; /* NULL: no such name */
    uint32_t process, group;
};

struct open_file {
    struct node *node; /* NULL: the place is free */
    size_t offset;
    bool appends;
    uint32_t process;
};

static struct disk {
    struct node *nodes, *root;
    struct change *changes;
    uint32_t change_count, change_capacity, groups;
    struct open_file files[OPEN_FILES_MAX];
    /* The canary that renames before it flushes: files whose flush has yet to be done. */
    struct deferred {
        struct node *node;
        uint32_t process;
        bool due; /* its process has renamed something since */
    } deferred[DEFERRED_MAX];
    uint32_t deferred_count;
} disk;

/* ---- nodes ---------------------------------------------------------------------------------- */

static struct node *node_create(bool folder)
{
    struct node *node = calloc(1, sizeof *node);
    CHECK(node != NULL);
    node->folder = folder;
    node->next = disk.nodes;
    disk.nodes = node;
    return node;
}

void disk_init(void)
{
    disk = (struct disk){0};
    disk.root = node_create(true);
}

void disk_deinit(void)
{
    while (disk.nodes != NULL) {
        struct node *node = disk.nodes;
        disk.nodes = node->next;
        free(node->bytes);
        free(node->safe);
        free(node->entries);
        free(node);
    }
    free(disk.changes);
    disk = (struct disk){0};
}

static struct entry *find_entry(struct node *folder, const char *name)
{
    for (uint32_t i = 0; i < folder->entry_count; i++) {
        if (strcmp(folder->entries[i].name, name) == 0) return &folder->entries[i];
    }
    return NULL;
}

/* Binds the name to the node; NULL takes it away. */
static void bind_name(struct node *folder, const char *name, struct node *node)
{
    struct entry *entry = find_entry(folder, name);
    if (node == NULL) {
        if (entry != NULL) *entry = folder->entries[--folder->entry_count];
        return;
    }
    if (entry == NULL) {
        if (folder->entry_count == folder->entry_capacity) {
            folder->entry_capacity = folder->entry_capacity * 2 + 8;
            folder->entries =
                realloc(folder->entries, folder->entry_capacity * sizeof *folder->entries);
            CHECK(folder->entries != NULL);
        }
        entry = &folder->entries[folder->entry_count++];
        snprintf(entry->name, sizeof entry->name, "%s", name);
    }
    entry->node = node;
}

static void change_name(struct node *folder, const char *name, struct node *node)
{
    struct entry *entry = find_entry(folder, name);
    if (disk.change_count == disk.change_capacity) {
        disk.change_capacity = disk.change_capacity * 2 + 64;
        disk.changes = realloc(disk.changes, disk.change_capacity * sizeof *disk.changes);
        CHECK(disk.changes != NULL);
    }
    struct change *change = &disk.changes[disk.change_count++];
    *change = (struct change){.folder = folder,
                              .before = entry == NULL ? NULL : entry->node,
                              .after = node,
                              .process = sim.current->index,
                              .group = disk.groups};
    snprintf(change->name, sizeof change->name, "%s", name);
    bind_name(folder, name, node);
}

/* False: a path of the system's. Else the node, and where its name stands; NULL where there is
 * none. */
static bool find_path(const char *path, struct node **node, struct node **folder,
                      char name[DISK_NAME_BYTES])
{
    if (strncmp(path, "/sim", 4) != 0 || (path[4] != '/' && path[4] != 0)) return false;
    *node = disk.root;
    *folder = NULL;
    name[0] = 0;
    for (const char *part = path + 4; *(part += strspn(part, "/")) != 0;) {
        size_t length = strcspn(part, "/");
        CHECK(length < DISK_NAME_BYTES);
        memcpy(name, part, length);
        name[length] = 0;
        part += length;
        *folder = *node;
        if (*folder == NULL || !(*folder)->folder) {
            *node = *folder = NULL;
            return true;
        }
        struct entry *entry = find_entry(*folder, name);
        *node = entry == NULL ? NULL : entry->node;
    }
    return true;
}

bool disk_exists(const char *path, bool *is_folder)
{
    struct node *node, *folder;
    char name[DISK_NAME_BYTES];
    if (!find_path(path, &node, &folder, name) || node == NULL) return false;
    if (is_folder != NULL) *is_folder = node->folder;
    return true;
}

uint32_t disk_names(const char *path, char (**names)[DISK_NAME_BYTES])
{
    struct node *node, *folder;
    char name[DISK_NAME_BYTES];
    CHECK(find_path(path, &node, &folder, name) && node != NULL && node->folder);
    *names = calloc(node->entry_count + (size_t)1, sizeof **names);
    CHECK(*names != NULL);
    for (uint32_t i = 0; i < node->entry_count; i++)
        memcpy((*names)[i], node->entries[i].name, DISK_NAME_BYTES);
    return node->entry_count;
}

/* ---- safe and lost -------------------------------------------------------------------------- */

static void make_safe(struct node *node)
{
    if (node->folder) {
        uint32_t kept = 0;
        for (uint32_t i = 0; i < disk.change_count; i++) {
            if (disk.changes[i].folder != node) disk.changes[kept++] = disk.changes[i];
        }
        disk.change_count = kept;
    } else if (node->dirty) {
        free(node->safe);
        node->safe = malloc(node->size + 1);
        CHECK(node->safe != NULL);
        if (node->size > 0) memcpy(node->safe, node->bytes, node->size);
        node->safe_size = node->size;
        node->dirty = false;
    }
}

/* Does what the process put off; or forgets it, since it has died. */
static void end_deferred(uint32_t process, bool dead)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < disk.deferred_count; i++) {
        struct deferred deferred = disk.deferred[i];
        bool ends = deferred.process == process && (deferred.due || dead);
        if (ends && !dead) make_safe(deferred.node);
        if (!ends) disk.deferred[kept++] = deferred;
    }
    disk.deferred_count = kept;
}

static void defer(struct node *node)
{
    for (uint32_t i = 0; i < disk.deferred_count; i++) {
        if (disk.deferred[i].node == node) return;
    }
    CHECK(disk.deferred_count < DEFERRED_MAX);
    disk.deferred[disk.deferred_count++] =
        (struct deferred){.node = node, .process = sim.current->index};
}

/* Kept, lost, or some of it with zeros or noise for the rest. */
static void lose_bytes(struct node *node)
{
    uint64_t fate = sim_between(0, 3);
    if (fate == 1) {
        node->size = node->safe_size;
        if (node->size > 0) memcpy(node->bytes, node->safe, node->size);
    } else if (fate == 2 && node->size > 0) {
        size_t from = sim_between(0, node->size);
        bool noise = sim_chance(500);
        for (size_t i = from; i < node->size; i++)
            node->bytes[i] = noise ? (uint8_t)rng_u64(&sim.rng) : 0;
    }
    node->dirty = true;
    make_safe(node);
}

/* Of the changes that the process made in the folder the last ones are taken back. */
static void lose_names(struct node *folder, uint32_t process)
{
    uint32_t groups[256], count = 0;
    for (uint32_t i = 0; i < disk.change_count; i++) {
        const struct change *change = &disk.changes[i];
        if (change->folder != folder || change->process != process) continue;
        if (count > 0 && groups[count - 1] == change->group) continue;
        CHECK(count < 256);
        groups[count++] = change->group;
    }
    uint32_t kept = (uint32_t)sim_between(0, count + 1);
    for (uint32_t i = disk.change_count; kept < count && i-- > 0;) {
        const struct change *change = &disk.changes[i];
        if (change->folder != folder || change->process != process ||
            change->group < groups[kept]) {
            continue;
        }
        const struct entry *now = find_entry(folder, change->name);
        /* Unless another process has changed the name since. */
        if ((now == NULL ? NULL : now->node) == change->after)
            bind_name(folder, change->name, change->before);
    }
    uint32_t left = 0;
    for (uint32_t i = 0; i < disk.change_count; i++) {
        const struct change *change = &disk.changes[i];
        if (change->folder != folder || change->process != process) disk.changes[left++] = *change;
    }
    disk.change_count = left;
}

void disk_crash(const struct process *process)
{
    end_deferred(process->index, true);
    while (true) {
        uint32_t i = 0;
        while (i < disk.change_count && disk.changes[i].process != process->index)
            i++;
        if (i == disk.change_count) break;
        lose_names(disk.changes[i].folder, process->index);
    }
    for (struct node *node = disk.nodes; node != NULL; node = node->next) {
        if (!node->folder && node->dirty && node->writer == process->index) lose_bytes(node);
    }
}

void disk_close_all(const struct process *process)
{
    for (uint32_t i = 0; i < OPEN_FILES_MAX; i++) {
        if (disk.files[i].node != NULL && disk.files[i].process == process->index)
            disk.files[i] = (struct open_file){0};
    }
}

/* ---- calls that fail ------------------------------------------------------------------------ */

/* A step of the process: it may die in it, after which nothing it calls does anything. */
bool disk_refuses(bool writes)
{
    struct process *process = sim.current;
    CHECK(process != NULL);
    if (process_file_step(writes)) {
        errno = EIO;
        return true;
    }
    if (!writes) return false;
    if (disk.deferred_count > 0) end_deferred(process->index, false);
    if (sim.now_ns < process->disk_full_until_ns) {
        errno = ENOSPC;
        return true;
    }
    if (sim.now_ns < process->disk_faults_until_ns && sim_chance(100)) {
        errno = sim_chance(500) ? EIO : ENOSPC;
        return true;
    }
    return false;
}

static int fail_with(int reason)
{
    errno = reason;
    return -1;
}

/* ---- files ---------------------------------------------------------------------------------- */

static struct open_file *file_of(int fd)
{
    if (fd < FD_FIRST || fd >= FD_FIRST + OPEN_FILES_MAX) return NULL;
    struct open_file *file = &disk.files[fd - FD_FIRST];
    /* Those of a process that has died are closed; what it still calls does nothing. */
    return file->node == NULL ? NULL : file;
}

bool disk_has(int fd)
{
    return fd >= FD_FIRST;
}

static int open_node(struct node *node, int flags)
{
    for (int i = 0; i < OPEN_FILES_MAX; i++) {
        if (disk.files[i].node != NULL) continue;
        disk.files[i] = (struct open_file){
            .node = node, .appends = (flags & O_APPEND) != 0, .process = sim.current->index};
        return FD_FIRST + i;
    }
    CHECK(false);
    return -1;
}

static void resize(struct node *node, size_t size)
{
    if (size > node->capacity) {
        node->capacity = size * 2 + 64;
        node->bytes = realloc(node->bytes, node->capacity);
        CHECK(node->bytes != NULL);
    }
    if (size > node->size) memset(node->bytes + node->size, 0, size - node->size);
    node->size = size;
    node->dirty = true;
    node->writer = sim.current->index;
}

int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    struct node *node, *folder;
    char name[DISK_NAME_BYTES];
    if (!find_path(path, &node, &folder, name)) return __real_open(path, flags, mode);
    bool creates = (flags & O_CREAT) != 0 && node == NULL;
    if (disk_refuses(creates)) return -1;
    if (node == NULL && (!creates || folder == NULL)) return fail_with(ENOENT);
    if (node != NULL && (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
        return fail_with(EEXIST);
    if (creates) {
        node = node_create(false);
        node->dirty = true; /* until it is flushed it may be anything */
        node->writer = sim.current->index;
        disk.groups++;
        change_name(folder, name, node);
    }
    if ((flags & O_TRUNC) != 0 && node->size > 0) resize(node, 0);
    return open_node(node, flags);
}

int __wrap_close(int fd)
{
    if (!disk_has(fd)) return __real_close(fd);
    struct open_file *file = file_of(fd);
    if (file != NULL) *file = (struct open_file){0};
    return 0;
}

ssize_t __wrap_read(int fd, void *data, size_t bytes)
{
    if (!disk_has(fd)) return __real_read(fd, data, bytes);
    struct open_file *file = file_of(fd);
    if (disk_refuses(false) || file == NULL) return -1;
    if (file->offset >= file->node->size) return 0;
    size_t left = file->node->size - file->offset;
    if (bytes > left) bytes = left;
    memcpy(data, file->node->bytes + file->offset, bytes);
    file->offset += bytes;
    return (ssize_t)bytes;
}

ssize_t __wrap_pread(int fd, void *data, size_t bytes, off_t offset)
{
    if (!disk_has(fd)) return __real_pread(fd, data, bytes, offset);
    struct open_file *file = file_of(fd);
    if (disk_refuses(false) || file == NULL) return -1;
    if ((size_t)offset >= file->node->size) return 0;
    size_t left = file->node->size - (size_t)offset;
    if (bytes > left) bytes = left;
    memcpy(data, file->node->bytes + offset, bytes);
    return (ssize_t)bytes;
}

ssize_t __wrap_write(int fd, const void *data, size_t bytes)
{
    if (!disk_has(fd)) return __real_write(fd, data, bytes);
    struct open_file *file = file_of(fd);
    if (disk_refuses(true) || file == NULL) return -1;
    if (file->appends) file->offset = file->node->size;
    /* The system may stop short. */
    if (bytes > 1 && sim.now_ns < sim.heal_ns && sim_chance(20)) bytes = sim_between(1, bytes);
    if (file->offset + bytes > file->node->size) resize(file->node, file->offset + bytes);
    if (bytes > 0) memcpy(file->node->bytes + file->offset, data, bytes);
    file->node->dirty = true;
    file->node->writer = sim.current->index;
    file->offset += bytes;
    return (ssize_t)bytes;
}

off_t __wrap_lseek(int fd, off_t offset, int whence)
{
    if (!disk_has(fd)) return __real_lseek(fd, offset, whence);
    struct open_file *file = file_of(fd);
    if (disk_refuses(false) || file == NULL) return -1;
    size_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? file->offset : file->node->size;
    file->offset = from + (size_t)offset;
    return (off_t)file->offset;
}

int __wrap_ftruncate(int fd, off_t size)
{
    if (!disk_has(fd)) return __real_ftruncate(fd, size);
    struct open_file *file = file_of(fd);
    if (disk_refuses(true) || file == NULL) return -1;
    if ((size_t)size != file->node->size) resize(file->node, (size_t)size);
    return 0;
}

static int flush(int fd)
{
    struct open_file *file = file_of(fd);
    if (disk_refuses(true) || file == NULL) return -1;
    if (sim.canary == CANARY_RENAME_FIRST && !file->node->folder) {
        defer(file->node);
    } else {
        make_safe(file->node);
    }
    return 0;
}

int __wrap_fsync(int fd)
{
    return disk_has(fd) ? flush(fd) : __real_fsync(fd);
}

int __wrap_fdatasync(int fd)
{
    return disk_has(fd) ? flush(fd) : __real_fdatasync(fd);
}

const void *disk_bytes(int fd)
{
    const struct open_file *file = file_of(fd);
    return file == NULL ? NULL : file->node->bytes;
}

int __wrap_flock(int fd, int operation)
{
    return disk_has(fd) ? 0 : __real_flock(fd, operation);
}

/* ---- names ---------------------------------------------------------------------------------- */

static int move(const char *from, const char *to, bool exchange)
{
    struct node *node, *folder, *other, *other_folder;
    char name[DISK_NAME_BYTES], other_name[DISK_NAME_BYTES];
    CHECK(find_path(from, &node, &folder, name));
    CHECK(find_path(to, &other, &other_folder, other_name));
    if (disk_refuses(true)) return -1;
    if (node == NULL || other_folder == NULL || (exchange && other == NULL))
        return fail_with(ENOENT);
    if (!exchange && other != NULL && other->folder && other->entry_count > 0)
        return fail_with(ENOTEMPTY);
    CHECK(folder == other_folder); /* changes of two folders would not be lost together */
    disk.groups++;
    change_name(folder, name, exchange ? other : NULL);
    change_name(other_folder, other_name, node);
    for (uint32_t i = 0; i < disk.deferred_count; i++)
        disk.deferred[i].due |= disk.deferred[i].process == sim.current->index;
    return 0;
}

int __wrap_rename(const char *from, const char *to)
{
    return strncmp(from, "/sim", 4) == 0 ? move(from, to, false) : __real_rename(from, to);
}

int __wrap_renameat2(int from_folder, const char *from, int to_folder, const char *to,
                     unsigned flags)
{
    if (strncmp(from, "/sim", 4) != 0)
        return __real_renameat2(from_folder, from, to_folder, to, flags);
    return move(from, to, flags == RENAME_EXCHANGE);
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    struct node *node, *folder;
    char name[DISK_NAME_BYTES];
    if (!find_path(path, &node, &folder, name)) return __real_mkdir(path, mode);
    if (disk_refuses(node == NULL)) return -1;
    if (node != NULL) return fail_with(EEXIST);
    if (folder == NULL) return fail_with(ENOENT);
    disk.groups++;
    change_name(folder, name, node_create(true));
    return 0;
}

static int remove_name(const char *path, bool wants_folder)
{
    struct node *node, *folder;
    char name[DISK_NAME_BYTES];
    CHECK(find_path(path, &node, &folder, name));
    if (disk_refuses(false)) return -1;
    if (sim.now_ns < sim.current->disk_faults_until_ns && sim_chance(50)) return fail_with(EIO);
    if (node == NULL) return fail_with(ENOENT);
    if (node->folder != wants_folder) return fail_with(wants_folder ? ENOTDIR : EISDIR);
    if (node->folder && node->entry_count > 0) return fail_with(ENOTEMPTY);
    disk.groups++;
    change_name(folder, name, NULL);
    return 0;
}

int __wrap_unlink(const char *path)
{
    return strncmp(path, "/sim", 4) == 0 ? remove_name(path, false) : __real_unlink(path);
}

int __wrap_rmdir(const char *path)
{
    return strncmp(path, "/sim", 4) == 0 ? remove_name(path, true) : __real_rmdir(path);
}

int __wrap_access(const char *path, int mode)
{
    struct node *node, *folder;
    char name[DISK_NAME_BYTES];
    if (!find_path(path, &node, &folder, name)) return __real_access(path, mode);
    if (disk_refuses(false)) return -1;
    return node != NULL ? 0 : fail_with(ENOENT);
}

static int describe(const struct node *node, struct stat *info)
{
    *info = (struct stat){
        .st_mode = node->folder ? S_IFDIR : S_IFREG, .st_size = (off_t)node->size, .st_nlink = 1};
    return 0;
}

static int describe_path(const char *path, struct stat *info)
{
    struct node *node, *folder;
    char name[DISK_NAME_BYTES];
    CHECK(find_path(path, &node, &folder, name));
    if (disk_refuses(false)) return -1;
    return node != NULL ? describe(node, info) : fail_with(ENOENT);
}

int __wrap_stat(const char *path, struct stat *info)
{
    return strncmp(path, "/sim", 4) == 0 ? describe_path(path, info) : __real_stat(path, info);
}

int __wrap_lstat(const char *path, struct stat *info)
{
    return strncmp(path, "/sim", 4) == 0 ? describe_path(path, info) : __real_lstat(path, info);
}

int __wrap_fstat(int fd, struct stat *info)
{
    if (!disk_has(fd)) return __real_fstat(fd, info);
    struct open_file *file = file_of(fd);
    if (disk_refuses(false) || file == NULL) return -1;
    return describe(file->node, info);
}

char *__wrap_realpath(const char *path, char *resolved)
{
    if (strncmp(path, "/sim", 4) != 0) return __real_realpath(path, resolved);
    return strcpy(resolved, path);
}
