/* Runs a target on the files and folders of files that are named, where there is no libFuzzer. A
 * line tells each file before it is run: the last one is that of a crash. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

static int failed;
static unsigned long runs;

static void run_file(const char *path)
{
    struct error error;
    char *data;
    size_t bytes;
    printf("%s\n", path);
    fflush(stdout);
    if (file_read_all(path, 64u << 20, &data, &bytes, &error) != STATUS_OK) {
        fprintf(stderr, "%s\n", error.text);
        failed = 1;
        return;
    }
    /* Without the zero byte behind it, so that a read past the end is seen. */
    uint8_t *exact = malloc(bytes > 0 ? bytes : 1);
    if (exact == NULL) abort();
    for (size_t i = 0; i < bytes; i++)
        exact[i] = (uint8_t)data[i];
    free(data);
    (void)LLVMFuzzerTestOneInput(exact, bytes);
    free(exact);
    runs++;
}

static void run_folder(const char *path)
{
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char file[FILE_PATH_BYTES];
        if (entries[i]->d_name[0] != '.' &&
            file_path(file, NULL, "%s/%s", path, entries[i]->d_name) == STATUS_OK) {
            run_file(file);
        }
        free(entries[i]);
    }
    if (count >= 0) free(entries);
}

int main(int argc, char **argv)
{
    struct stat info;
    for (int i = 1; i < argc; i++) {
        if (stat(argv[i], &info) == 0 && S_ISDIR(info.st_mode)) {
            run_folder(argv[i]);
        } else {
            run_file(argv[i]);
        }
    }
    printf("%lu inputs\n", runs);
    if (runs == 0) fprintf(stderr, "no input: name files or folders of them\n");
    return failed != 0 || runs == 0;
}
