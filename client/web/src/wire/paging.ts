// Lists that the server gives in pages.

export interface Pages<Item> {
  items: Item[];
  hasMore: boolean;
}

/** Reads pages until there are `most` items or the list ends. `read` gets the token of the page, "" for the first. */
export async function readPages<Reply extends { nextPageToken: string }, Item>(
  most: number,
  read: (pageToken: string) => Promise<Reply>,
  itemsOf: (reply: Reply) => readonly Item[],
): Promise<Pages<Item>> {
  const items: Item[] = [];
  let pageToken = "";
  do {
    const reply = await read(pageToken);
    items.push(...itemsOf(reply));
    pageToken = reply.nextPageToken;
  } while (pageToken && items.length < most);
  return { items, hasMore: pageToken !== "" };
}
