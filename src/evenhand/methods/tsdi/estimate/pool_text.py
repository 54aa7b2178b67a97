"""The built-in token pool: plain prose and questions on many subjects, written for Evenhand. It holds nothing about refusals."""

from __future__ import annotations

PASSAGES: tuple[str, ...] = tuple(
    passage.strip().replace("\n", " ")
    for passage in """
Rivers begin where rain and melting snow gather faster than the ground can drink. Small streams meet, the channel widens,
and the water carries sand and clay toward the sea. In a flat valley the current slows, drops what it holds, and bends from side
to side. A bend grows wider each year because the outer bank is cut away while the inner bank is built up.

Which of these changes would make a river carry more sand: a steeper bed, a slower current, a wider mouth, or less rain?

A loaf of bread needs flour, water, salt and something that makes gas. Yeast eats the sugars in the flour and breathes
out carbon dioxide. The dough traps the gas because kneading has joined its proteins into an elastic net. In the oven
the bubbles swell, the net sets, and the crust turns brown. If the dough rises too long the net tears and the loaf falls.

How long should a dough rest before it is shaped, and what does the baker look for to know that it is ready?

The heart of a mammal has four chambers. Blood that is poor in oxygen enters on the right side and is pushed to the
lungs; it returns to the left side and is sent through the body. Valves keep it from flowing back. The beat starts in a
small patch of muscle that fires by itself about once a second, a little faster when we run and slower while we sleep.

Name the vessel that takes blood from the left side of the heart to the rest of the body, and say why its wall is thick.

A triangle with sides of three, four and five units has a right angle, since nine plus sixteen makes twenty-five. Builders
used a rope with twelve equal parts to lay out square corners. The same rule gives the distance between two points on a
map: square the difference east, square the difference north, add them, and take the root.

What is the length of the longest straight stick that fits into a box of two by three by six feet?

Prices rise when many people want a thing and few have it to sell. A high price invites others to make more of it, and it
persuades some buyers to look for something else. When supply has grown and demand has cooled, the price settles. Taxes,
transport, seasons and habits all pull on it, so that the simple picture holds only when other things stay the same.

If the cost of shipping falls by half, what happens to the price of oranges in a town far from any orchard?

Printing with movable type made copies cheap. Before that a book was written out by hand, and a library of a hundred
volumes was a treasure. Within two generations presses stood in most large towns of Europe, and news, maps, almanacs and
school books followed. Spelling slowly became more regular, because readers in distant places now saw the same page.

In which part of the world were letters of baked clay used long before the metal type of Europe?

Light travels about three hundred thousand kilometres in a second. From the sun it needs a little more than eight minutes
to reach us. When it passes from air into glass it slows down and bends; a curved piece of glass therefore gathers rays
into a point. Telescopes, cameras and spectacles are made of such pieces, ground and polished with great care.

Why does a straw seem broken where it enters a glass of water, and from which angle does the effect vanish?

Plants take carbon dioxide from the air and water from the soil, and with the energy of sunlight they build sugar. Oxygen
is what remains. The green pigment absorbs red and blue light and reflects the rest. At night a plant breathes as animals
do. A forest stores carbon in wood, roots and humus, and gives it back when trees rot or burn.

Suppose that a leaf is kept in the dark for two days and then tested with iodine. What colour would you expect, and why?

A contract is a promise that a court will stand behind. There must be an offer, an acceptance, and something given in
return. It need not be written, although paper helps when memories differ. If one side breaks its word, the other may ask
for money that puts it where it would have been. Some promises, for example to sell a house, count only in writing.

A painter agrees to finish a fence by Friday and stops half way. What may the owner claim, and what must the owner show?

The moon turns around the earth in a little less than four weeks and always shows the same face. Half of it is lit by the
sun; how much of that half we see depends on where it stands. A full moon rises at sunset, a new moon with the sun. Twice a
day the sea rises and falls, most of all when sun and moon pull along one line.

On which days of the month are the tides highest, and would there be tides if the earth had no moon at all?

A sorting method can be slow and simple or quick and clever. To sort a hand of cards, most people pick one card at a time
and slide it into place; with many cards this takes long, since each card may pass all the others. A faster way cuts the
deck in two, sorts each half, and merges them. The work then grows only a little faster than the number of cards.

Write a short function that returns the largest number in a list, and explain what it should do with an empty list.

Salt lowers the temperature at which water freezes. That is why roads are salted in winter and why the sea stays open when
lakes are closed. The salt gets in the way of the molecules that try to line up into ice. Sugar does the same, less
strongly for each gram. Below about minus twenty degrees salt no longer helps much, and sand is used instead.

Two cups hold the same amount of water, one fresh and one salty. Which one boils at the higher temperature?

Languages change without anyone planning it. Sounds shift, endings wear away, and words are borrowed from neighbours. An
old text looks strange after five hundred years and foreign after a thousand. Yet the changes follow rules: a sound that
moves in one word tends to move in all words where it has the same neighbours. So lost languages can be partly rebuilt.

Find three English words that came from Arabic, three from Dutch, and one whose origin nobody knows for certain.

A violin has four strings, tuned a fifth apart. The bow is rubbed with resin so that it sticks to the string and slips,
hundreds of times a second. The thin wooden body carries the motion to the air. A player shortens the string with a finger
to raise the note and rocks the hand to make it sing. No fret tells the finger where to stop; the ear must learn it.

If a string is shortened by one third of its length, by which interval does its note rise?

Cities grow where roads cross, where a river can be bridged, or where a harbour gives shelter. Trade draws craftsmen, and
craftsmen draw farmers with food to sell. Old walls can often be read from a street map as a ring of wide roads. Later,
railways pulled the centre toward the station, and cars spread the houses over the fields around.

What makes a street pleasant to walk along: shade, shops, slow traffic, benches, or the number of doors?

Vaccines show the body a harmless piece of a germ, so that it can prepare. White blood cells that fit the piece multiply,
and some of them stay for years. When the real germ arrives they answer within hours instead of days. If most people in a
town are protected, an outbreak finds too few hosts and dies out, which also shelters those who cannot be vaccinated.

Explain why some vaccines need a second dose after a few weeks, and why others must be renewed every year.

To grow tomatoes, sow the seeds indoors eight weeks before the last frost. Keep them warm and give them all the light you
can. When the first true leaves appear, move each seedling into its own pot, deep enough to bury the stem. Plant them
outside when nights stay mild. Water the soil, not the leaves, and tie the main stem to a stake.

My cucumbers have yellow leaves with brown edges. Do they need more water, less water, or a different soil?

Electric current is the flow of charge. Volts tell how hard it is pushed, amperes how much of it passes, and ohms how
strongly the wire resists. A lamp of sixty watts on a line of two hundred and thirty volts draws about a quarter of an
ampere. A fuse is a thin wire that melts first, so that the rest of the house does not.

Three equal lamps hang in a row on one battery. One of them burns out. What do the other two do, and how can it be avoided?

The theatre of ancient Athens was cut into a hillside, and a whisper on the stage was heard in the last row. Actors wore
masks, and a chorus commented on the action. Plays were entered in a contest, three tragedies and a lighter piece by each
poet. The audience knew the stories beforehand; the interest lay in how they were told.

Who speaks first in your favourite play, and what do we learn from those opening lines about the rest of the evening?

A good map leaves things out. A walker needs paths, slopes and springs; a driver needs junctions and distances; a sailor
needs depths and lights. Because the earth is round and paper is flat, every map stretches something: areas, angles or
distances. The map maker chooses which of them to keep, and the reader should know the choice.

On a map of one to fifty thousand, two villages are seven centimetres apart. How long does the walk take at a fair pace?

Bees tell each other where flowers are by dancing on the comb. The angle of the dance against the vertical matches the
angle of the flight against the sun, and its length matches the distance. Other bees follow the dancer in the dark and feel
the movement. A colony also votes in this way when a swarm looks for a new home.

How would you find out whether a bee recognises colours, or only how bright a thing is?

Interest on savings is paid on the sum and on earlier interest. At five per cent a sum doubles in about fourteen years, at
ten per cent in about seven. A loan works the same way against the borrower. Because prices rise too, what matters is the
interest that remains after inflation, and after the tax that is due on it.

A family puts aside two hundred each month at three per cent a year. About how much is there after ten years?

Concrete is made of gravel, sand, cement and water. It does not dry; it hardens, because cement and water form crystals
that grip the stones. It is strong when pressed and weak when pulled, so steel bars are laid where it will be pulled. It
gains most of its strength within a month, and should be kept moist in the first week.

Why are there gaps between the slabs of a long bridge, and what fills them?

Memory is not a film that can be played again. Each time we recall a scene we put it together anew from pieces, and what we
have heard since may slip in. A vivid picture and a firm feeling are no proof. Notes made on the same day are worth more
than a clear memory after a year. Sleep seems to help the day's traces to settle.

Which of these helps most to learn a list of words: reading it again, copying it out, or trying to say it from memory?

A chess game begins with twenty possible moves for white and as many replies. After a few moves the number of positions is
greater than the number of grains of sand on a beach. Good players do not look at more moves than others; they see at once
which few are worth looking at. They learned this from thousands of games.

White has a king and a rook, black has a king alone. Describe how white drives the black king to the edge of the board.

Glass is sand that has been melted with soda and lime and then cooled too quickly for crystals to form. It can be blown,
pressed, drawn into fibres or floated on liquid tin to make flat sheets. Colours come from metals: cobalt gives blue, iron
green, and a trace of gold a deep red. Broken glass melts at a lower heat than sand, so recycling saves fuel.

What is the difference between the glass of a window, of a cooking pot and of a car, when each of them breaks?

Weather is what the air does today, climate is what it does over decades. Warm air holds more water than cold air, so when
it rises and cools, clouds form and rain falls. Winds blow from high to low pressure and are turned aside by the rotation
of the earth. Mountains make one side wet and the other dry.

A barometer falls quickly during the afternoon and the wind turns south. What should the farmer expect for the night?

The cell is the smallest thing that is alive by itself. A wall of fatty molecules keeps the inside in. Instructions are
written in a long molecule with four letters, read three at a time. Each group of three names one part of a protein.
Copying errors are rare and mostly without effect; some do damage, and a very few are of use.

How many different groups of three can be written with four letters, and why are there fewer parts than groups?

A tent should be pitched on level ground a little above its surroundings, never in a dry stream bed. Turn the narrow end
into the wind. Push the pegs in at an angle away from the tent and keep the lines tight. Hang food from a branch, cook at a
distance, and look at the sky before going to bed. In the morning let the fabric dry before rolling it up.

We plan to hike for three days in the hills with two children. What should we pack, and what can stay at home?

Paper was first made from bark, rags and old nets, beaten to pulp, spread thin on a screen and pressed. The fibres hold on
to each other as they dry. Mills driven by water made it cheaper, and wood took the place of rags in the nineteenth
century. Acid left in the pulp turns pages yellow and brittle; better papers hold a little chalk against it.

Fold a sheet of paper in half as often as you can. How thick would it be after thirty folds, if that were possible?

Democracies differ in how they count votes. In one place the candidate with the most votes in a district takes its seat; in
another, seats are shared out by the parties' totals. The first gives clear majorities and near representatives, the second
gives small groups a voice. Some countries mix the two. Each rule rewards another kind of party.

In an election with three candidates, how can the one whom most voters like least come out first?

Ships float because they push aside water that weighs as much as they do. A steel hull is mostly air. Cargo must be spread
so that the centre of weight stays low; a ship with heavy boxes on deck rolls slowly and may not come back. Ballast tanks
are filled or emptied to keep the balance while goods are taken off.

A boat on a small pond carries a stone. The stone is thrown overboard and sinks. Does the level of the pond rise or fall?

To write a clear letter, decide first what the reader should do after reading it. Put that near the top. Use short words
and short sentences, one thought in each. Give dates and sums in figures. Read it aloud before sending; where you stumble,
the reader will too. Thank people for what they did, and name it.

Please draft a friendly note to the neighbours about a street party on the second Saturday in June.

Chemical elements are ordered by the number of protons in the nucleus. Those in one column behave alike, because their
outer electrons are arranged alike. Sodium and potassium both react briskly with water; neon and argon hardly react at all.
When the table was drawn up, gaps were left, and the missing elements were found later with nearly the weights foretold.

Which weighs more, a litre of dry air or a litre of moist air at the same pressure and warmth?

Silk comes from the cocoon of a moth whose larva eats mulberry leaves. One cocoon gives a thread of up to a kilometre,
finer than a hair. For many centuries caravans carried it west over deserts and passes, together with spices, glass, horses
and ideas. Sea routes later took over most of the trade, and some cities of the old road were left to the sand.

List the goods that travelled from west to east along the same roads, and say how we know.

A rainbow appears when the sun is behind you and rain falls in front. Light enters each drop, is reflected at its back and
leaves again, red at a slightly other angle than blue. Each eye sees its own bow. Sometimes a second one stands outside the
first, paler and with the colours in reverse order. At noon in summer the sun is too high for a bow.

Could someone in an aeroplane see a rainbow as a full circle, and where would its centre be?

Learning to swim begins with breathing. Put the face into the water and blow out slowly through nose and mouth, then lift
the head and breathe in. Next comes floating, on the back and on the front, with a long neck and quiet legs. Only when the
water feels safe is it time for strokes. Ten minutes each day bring more than an hour once a week.

What exercises strengthen the back, need no equipment, and can be done in a small room?

Ancient counting tables had columns for ones, tens and hundreds. A sign for nothing was needed once numbers were written
without the table. It came from India by way of Baghdad, and merchants in Italy took it up because it made bookkeeping
quick. Clerks complained that a zero is easily changed into a six or a nine.

Write the year of your birth in Roman numerals, and then multiply it by four without using our digits.

A museum keeps far more than it shows. Paintings suffer from light, furniture from dry air, and textiles from moths.
Curators note where a thing came from, who owned it and what was done to it. A good label answers the question that most
visitors have in front of the object, in fewer than eighty words, and leaves room for looking.

How can scientists tell the age of a wooden statue without taking a large piece from it?

Soap has molecules with two unlike ends. One end mixes with water, the other with fat. They surround a drop of grease and
carry it off. In hard water they meet calcium and form a grey scum instead. Washing powders hold substances that catch the
calcium first, and enzymes that cut proteins such as egg or blood into small pieces.

Which stains should be washed with cold water, and which with hot, and what is the reason?

The railway changed the idea of time. Before it, each town set its clocks by its own sun, and a traveller going east had to
move the hands forward at every stop. Timetables needed one time for the whole line, then for the country. Zones of one
hour each were agreed upon, with borders that follow rivers and politics more than the sun.

A train leaves at ten to nine and arrives at a quarter past one. It stops for twelve minutes twice. How long does it move?

Coral reefs are built by small animals that take lime from the sea. In their tissue live algae which feed them with sugar.
If the water grows too warm the algae are expelled, the coral turns white, and it may starve. Reefs break the waves before
they reach the coast and shelter a quarter of all kinds of fish, on a tiny share of the sea floor.

What lives in the deepest parts of the ocean, where no light comes, and what does it feed on?

Probability measures how sure we may be. A fair die shows a six once in six throws in the long run, yet three sixes in a
row do happen. Past throws do not change the next one. With two dice a sum of seven is the most common, for it can be made
in six ways out of thirty-six. People often see patterns in what is mere chance.

In a class of thirty pupils, how likely is it that at least two of them share a birthday?

Architects speak of load and span. A beam of stone bridges a few feet, a wooden one more, and an arch of stone much more,
because it turns weight into pressure along its curve. The thrust must be met at the sides by thick walls or by buttresses.
A dome is an arch turned around its middle. Steel and cables later made roofs possible that hardly seem to rest on anything.

Sketch in words a small library for a village: where are the entrance, the reading room, and the shelves?

Cheese is a way of keeping milk. Rennet or acid makes it clot, the whey is drained, salt is added, and time does the rest.
Moulds and bacteria give each kind its taste. Soft cheeses ripen in weeks from the outside in; hard ones are pressed and
wait for months or years. Holes are made by gas, and a lack of holes is no fault.

Suggest a menu for six guests, two of whom eat no meat and one of whom cannot have nuts.

Philosophers have asked what makes an action right. One answer looks at results: act so that the most good is done. Another
looks at rules that everyone could follow. A third asks what a person of good character would do. The answers often agree
in daily life and part in hard cases, which is where they are tested.

Is it ever right to break a promise in order to help a stranger, and what would each of the three answers say?

Computers store everything as patterns of two states. Eight of them make a byte, enough for one of two hundred and
fifty-six values. Letters are numbers by agreement, pictures are grids of numbers, and sounds are long rows of them. To
send a file over a noisy line, extra digits are added from which errors can be found and often mended.

How many bytes does a picture of one thousand by one thousand dots need if each dot has three colours?

The Andes are young mountains, pushed up where the floor of the Pacific slides under South America. Volcanoes stand along
the line and the ground shakes often. On the high plain between the ranges people learned to freeze potatoes at night and
dry them by day, so that they kept for years. Llamas carry loads there, and the air holds a third less oxygen than at sea.

Why does water boil sooner on a high mountain, and what does that mean for cooking beans?
""".strip().split("\n\n")
)
"""Passages, each one text."""
