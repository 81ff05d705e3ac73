/* fetch.h -- bringing one file, for fetch*.c only.
 * Chunk after chunk in the file's order, each verified against the signed recipe before it is
 * written: copied when some file here has it; else made from a delta, read from a pack, or cut out
 * of the raw file, whichever works, in that order.
 * Threads: as flotilla.h. */
#ifndef SDK_FETCH_H
#define SDK_FETCH_H

#include "base/map.h"
#include "sdk/internal.h"
#include "store/chunkmap.h"
#include "store/codec.h"
#include "store/delta.h"
#include "store/recipe.h"

#define FETCH_FILES 64 /* on this device that chunks are copied from */
#define FETCH_SPAN 4   /* slices of bytes copied here instead of one received */

/* What a chunk is made from.  The next one is tried when one fails. */
enum way {
	WAY_DELTA,  /* an older file that is here, and what changed */
	WAY_CHUNKS, /* packs */
	WAY_RAW	    /* the file as it is: for servers whose maps or codecs this version cannot read */
};

/* A whole file on this device. */
struct fetch_file_here {
	char *path; /* owned */
	struct digest recipe;
	uint64_t length;
};

/* Where a chunk can be copied from. */
struct fetch_local {
	const char *path; /* NULL: from the file under way, once its turn was */
	uint64_t at;
};

/* Where a chunk's stored bytes lie. */
struct fetch_place {
	uint32_t object; /* pack, part, 0 */
	int64_t at;	 /* in it */
	uint32_t stored; /* bytes; 0: none are needed */
};

/* What a failure means for the way that was tried. */
enum trouble {
	TROUBLE_RETRY, /* nothing: later */
	TROUBLE_CHUNK, /* another way for this chunk */
	TROUBLE_GONE   /* another way from here on */
};

struct fetching {
	struct digest sha256, name; /* of the file; of its recipe */
	char path[SDK_PATH], part[SDK_PATH + 8];
	int fd; /* of part */
	struct recipe *recipe;
	struct chunkmap *map;
	uint8_t *stored, *raw; /* CHUNK_STORED_MAX, CHUNK_RAW_MAX */
	uint32_t next;	       /* first chunk that is not in the file */

	struct map *locals; /* chunk digest -> struct fetch_local * */
	struct fetch_file_here files[FETCH_FILES];
	unsigned file_count;
	uint64_t reused; /* bytes copied */

	enum way way, here; /* of those to come; of the next one */
	enum trouble trouble; /* with the last failure */
	unsigned failures;    /* of way */
	int why;	      /* code of what was wrong with the packs; 0: nothing */
	char why_text[200];
	int64_t received, cap; /* bytes of packs and deltas */
	int64_t received_raw;

	struct decoder *decoder;
	struct delta_index *delta; /* as the next three for WAY_DELTA only */
	struct delta_opener *opener;
	struct digest from; /* recipe of the older file */
	const char *old_path; /* borrowed of files */
	struct source old;
	int old_fd;
	struct inplace *inplace; /* NULL: the older file stays */
};

/* ---- fetch_here.c: what is on this device ---- */

/* Learn what chunks can be copied.  What cannot be remembered is fetched. */
void fetch_here_find(struct flotilla *f, struct fetching *g);
/* One more file, of that recipe, named name; not 0: no room to remember it. */
int fetch_here_add(struct fetching *g, const char *path, const struct recipe *recipe,
		   const struct digest *name);
/* Where the chunk can be copied from; NULL: nowhere. */
const struct fetch_local *fetch_here(const struct fetching *g, const struct recipe_chunk *c);
/* The chunk's raw bytes in g->raw, from this device; false when they are not what they were. */
bool fetch_here_read(struct fetching *g, const struct recipe_chunk *c);
/* Chunks that stand whole in the .part file, from the first on. */
uint32_t fetch_here_prefix(struct fetching *g);

/* ---- fetch_way.c: how a chunk is had ---- */

/* The cheapest way that can be gone.  An error when the network failed: later. */
int fetch_way_choose(struct flotilla *f, struct fetching *g);
void fetch_way_done(struct fetching *g);
/* Which way chunk i is had. */
enum way fetch_way(const struct fetching *g, uint32_t i);
struct fetch_place fetch_place(const struct fetching *g, uint32_t i);
/* Path of the object of the next chunk, and its bytes. */
int64_t fetch_object(const struct fetching *g, char path[static SDK_PATH]);
/* g->stored of the next chunk into g->raw, verified. */
int fetch_way_open(struct fetching *g, struct err *err);
/* After code: OK when the next chunk can be had another way; else the code to give up with. */
int fetch_way_fall_back(struct flotilla *f, struct fetching *g, int code);

/* ---- fetch_inplace.c: the older file becomes the new one ---- */

/* Chunks are written over the older file, in order; what a later chunk may still need of what is
 * overwritten is kept in memory, 4 MiB.  A chunk that needs more than that comes from a pack, and so does,
 * after a death, the one that was being written. */

/* The way is a delta from the file at path: that becomes the .part, for good. */
int fetch_inplace_begin(struct flotilla *f, struct fetching *g, const char *path);
/* Whether an attempt before has, for the file that shall be at path. */
bool fetch_inplace_begun(const char *path);
/* If so, the .part is known as an older file. */
void fetch_inplace_find(struct fetching *g);
/* The way has been chosen. */
int fetch_inplace_resume(struct flotilla *f, struct fetching *g);
void fetch_inplace_done(struct fetching *g);
/* Whether what entry i of the delta refers to will be there at its turn. */
bool fetch_inplace_has(const struct fetching *g, uint32_t i);
/* The next chunk is about to be written. */
int fetch_inplace_keep(struct fetching *g, struct err *err);
void fetch_inplace_forget(const struct fetching *g); /* the file is whole */

/* ---- fetch_range.c: one range of one object ---- */

/* From the next chunk on; at least one chunk is done when it is OK. */
int fetch_range(struct flotilla *f, struct fetching *g);
/* Simulation: the next chunk alone, which is not written. */
int fetch_range_probe(struct flotilla *f, struct fetching *g);
/* The first len bytes of the object at path into bytes, or an error. */
int fetch_head(struct flotilla *f, struct fetching *g, const char *path, uint8_t *bytes, size_t len);

/* ---- fetch.c ---- */
int fetch_not_written(struct flotilla *f, const struct err *err);
int fetch_no_memory(struct flotilla *f);
/* The next chunk is done when it can be copied from here, and so on up to bytes of g->reused. */
int fetch_copy_on(struct flotilla *f, struct fetching *g, uint64_t bytes);
/* g->raw is the next chunk: write it. */
int fetch_write(struct flotilla *f, struct fetching *g);

#endif
