// Lists what is on the shelf.
const list = document.querySelector("ul");
for (const { name, bytes, taken } of await (await fetch("files")).json()) {
  const link = Object.assign(document.createElement("a"), { href: `files/${name}`, textContent: name });
  const item = document.createElement("li");
  item.append(link, `, ${bytes} bytes, taken ${taken} times`);
  list.append(item);
}
