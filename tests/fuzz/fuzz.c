/* A target's input taken apart, and files made of it. */
#include "tests/fuzz/fuzz.h"

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/check.h"
#include "common/checksum.h"
#include "common/npy.h"
#include "common/text.h"

uint8_t fuzz_byte(struct fuzz_input *input)
{
    return (uint8_t)fuzz_number(input, 1);
}

uint64_t fuzz_number(struct fuzz_input *input, unsigned count)
{
    struct fuzz_input part = fuzz_take(input, count);
    uint64_t number = 0;
    for (size_t i = part.bytes; i > 0; i--)
        number = number << 8 | part.data[i - 1];
    return number;
}

struct fuzz_input fuzz_take(struct fuzz_input *input, size_t bytes)
{
    struct fuzz_input part = {input->data, bytes < input->bytes ? bytes : input->bytes};
    input->data += part.bytes;
    input->bytes -= part.bytes;
    return part;
}

static const uint8_t *find_cut(struct fuzz_input input)
{
    return input.bytes == 0 ? NULL : memmem(input.data, input.bytes, FUZZ_CUT, strlen(FUZZ_CUT));
}

struct fuzz_input fuzz_part(struct fuzz_input *input)
{
    const uint8_t *cut = find_cut(*input);
    if (cut == NULL) return fuzz_take(input, input->bytes);
    struct fuzz_input part = fuzz_take(input, (size_t)(cut - input->data));
    (void)fuzz_take(input, strlen(FUZZ_CUT));
    if (input->bytes > 0 && input->data[0] == '\n') (void)fuzz_take(input, 1);
    return part;
}

/* ---- files -------------------------------------------------------------------------------------
 */

static char folder[64];

static void remove_folder_at_exit(void)
{
    if (folder[0] != '\0') CHECK(file_dir_remove(folder, NULL) == STATUS_OK);
}

const char *fuzz_folder(void)
{
    if (folder[0] == '\0') {
        const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        snprintf(folder, sizeof folder, "%s/anthill-fuzz-XXXXXX", parent);
        CHECK(mkdtemp(folder) != NULL);
        CHECK(atexit(remove_folder_at_exit) == 0);
        return folder;
    }
    CHECK(file_dir_remove(folder, NULL) == STATUS_OK);
    CHECK(mkdir(folder, 0700) == 0);
    return folder;
}

const char *fuzz_path(const char *name)
{
    static char paths[8][FILE_PATH_BYTES];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    CHECK(file_path(path, NULL, "%s/%s", folder, name) == STATUS_OK);
    return path;
}

/* Not by file_dir_create and file_write_atomic, which flush to the disk. Names that are taken by a
 * folder, or lie below a file, are left out. */
void fuzz_write(const char *name, struct fuzz_input content)
{
    char path[FILE_PATH_BYTES];
    CHECK(file_path(path, NULL, "%s/%s", folder, name) == STATUS_OK);
    for (char *slash = path + strlen(folder) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return;
    CHECK(file_write_all(fd, content.data, content.bytes, path, NULL) == STATUS_OK);
    CHECK(close(fd) == 0);
}

/* A relative path of lower-case letters, digits and "-_./", none of whose steps begins with a dot.
 */
static bool stays_inside(const char *name)
{
    char before = '/';
    for (const char *c = name; *c != '\0'; before = *c++) {
        if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) &&
            strchr("-_./", *c) == NULL)
            return false;
        if (before == '/' && (*c == '.' || *c == '/')) return false;
    }
    return before != '/';
}

void fuzz_unpack(struct fuzz_input archive)
{
    (void)fuzz_part(&archive);
    for (int files = 0; archive.bytes > 0 && files < 64; files++) {
        struct fuzz_input file = fuzz_part(&archive);
        char name[128];
        size_t bytes = 0;
        while (bytes < file.bytes && bytes + 1 < sizeof name && file.data[bytes] != '\n')
            bytes++;
        memcpy(name, file.data, bytes);
        name[bytes] = '\0';
        (void)fuzz_take(&file, bytes + 1);
        if (strlen(name) == bytes && stays_inside(name)) fuzz_write(name, file);
    }
}

/* ---- checksums ---------------------------------------------------------------------------------
 */

/* The text after "KEY: " when the line is one of this key. */
static const char *value_of(const char *line, const char *key)
{
    line += strspn(line, " -");
    size_t bytes = strlen(key);
    if (strncmp(line, key, bytes) != 0 || line[bytes] != ':') return NULL;
    return line + bytes + 1 + strspn(line + bytes + 1, " ");
}

/* Where the lines of a manifest have led to. */
struct manifest_fix {
    char own[512], parent[512]; /* folders of the manifest, and of what it lists */
    enum fuzz_checksums kind;
    unsigned partitions;
    unsigned long long base;
    bool known; /* the file that was named last, and it has: */
    uint64_t bytes, checksum;
};

static void look_up(struct manifest_fix *fix, const char *path)
{
    struct stat info;
    size_t length = strlen(path);
    fix->known = stat(path, &info) == 0 && S_ISREG(info.st_mode);
    if (!fix->known) return;
    bool array = length > 4 && strcmp(path + length - 4, ".npy") == 0;
    enum status status = fix->kind == FUZZ_OF_CHECKPOINT && array
                             ? npy_checksum_file(path, &fix->checksum, NULL)
                             : checksum_file(path, &fix->checksum, NULL);
    fix->known = status == STATUS_OK;
    fix->bytes = (uint64_t)info.st_size;
}

static void look_up_name(struct manifest_fix *fix, const char *name)
{
    char path[FILE_PATH_BYTES];
    fix->known = false;
    if (strlen(name) > 200 || !stays_inside(name)) return;
    snprintf(path, sizeof path, "%s/%s", fix->parent, name);
    look_up(fix, path);
    if (fix->known) return;
    snprintf(path, sizeof path, "%s/%s/manifest.yaml", fix->parent, name);
    look_up(fix, path);
}

/* The manifest of the same part in the step that it builds on. */
static void look_up_base(struct manifest_fix *fix)
{
    char path[FILE_PATH_BYTES];
    const char *part = strrchr(fix->own, '/');
    snprintf(path, sizeof path, "%s/step-%llu%s/manifest.yaml", folder, fix->base, part);
    look_up(fix, path);
}

static void fix_line(struct manifest_fix *fix, char *line, struct text *out)
{
    const char *value;
    if (fix->kind == FUZZ_OF_GRAPH && value_of(line, "start") != NULL)
        snprintf(fix->parent, sizeof fix->parent, "%s/part-%u", folder, fix->partitions++);
    if ((value = value_of(line, "name")) != NULL) look_up_name(fix, value);
    if ((value = value_of(line, "base")) != NULL) fix->base = strtoull(value, NULL, 10);
    if (strncmp(line, "# xxh3 ", 7) == 0) { /* a seal */
        text_add(out, "# xxh3 %016" PRIx64 "\n",
                 checksum_bytes(out->data == NULL ? "" : out->data, out->bytes));
    } else if ((value = value_of(line, "base_xxh3")) != NULL) {
        look_up_base(fix);
        text_add(out, "%.*s%016" PRIx64 "\n", (int)(value - line), line,
                 fix->known ? fix->checksum : 0);
    } else if (fix->known && (value = value_of(line, "bytes")) != NULL) {
        text_add(out, "%.*s%" PRIu64 "\n", (int)(value - line), line, fix->bytes);
    } else if (fix->known && (value = value_of(line, "xxh3")) != NULL) {
        text_add(out, "%.*s%016" PRIx64 "\n", (int)(value - line), line, fix->checksum);
    } else {
        text_add(out, "%s\n", line);
    }
}

void fuzz_fix_manifest(const char *name, enum fuzz_checksums kind)
{
    char *content, *line;
    size_t bytes;
    struct manifest_fix fix = {.kind = kind};
    struct text out = {0};
    if (file_read_all(fuzz_path(name), 1u << 20, &content, &bytes, NULL) != STATUS_OK) return;
    const char *slash = strrchr(name, '/');
    CHECK(strlen(name) < 200);
    snprintf(fix.own, sizeof fix.own, "%s%s%.*s", folder, slash == NULL ? "" : "/",
             slash == NULL ? 0 : (int)(slash - name), name);
    memcpy(fix.parent, fix.own, sizeof fix.parent);
    char *rest = strlen(content) == bytes ? content : NULL;
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (rest != NULL || line[0] != '\0') fix_line(&fix, line, &out);
    }
    if (out.data != NULL) fuzz_write(name, (struct fuzz_input){(uint8_t *)out.data, out.bytes});
    text_deinit(&out);
    free(content);
}
