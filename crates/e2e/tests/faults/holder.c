/*
 * Another program that has begun to write in a site database and does not come to an end. What SQLite holds meanwhile,
 * in a database with a write-ahead log, is a lock of byte 120 of the file NAME-shm (WAL_WRITE_LOCK of its file format).
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 120, .l_len = 1};
    int file = argc == 2 ? open(argv[1], O_RDWR) : -1;
    /* It waits until whoever writes just now has ended. */
    if (file < 0 || fcntl(file, F_SETLKW, &lock) != 0) {
        perror("the database cannot be held");
        return 1;
    }
    puts("held");
    fflush(stdout);
    for (;;) {
        pause();
    }
}
