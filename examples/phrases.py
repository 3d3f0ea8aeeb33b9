"""The sentences the example tasks are made of: for each label, templates for training and others held out for the test.

A template's `{slots}` are filled from the word lists below. No held-out template is a rewording by slots of a training
one; the word lists are shared, except for the adjectives of reviews, of which the test has its own.
"""

DESKS = ("Q7", "K2", "X9", "M4", "T1", "B8")

MESSAGES = {
    "Q7": {  # money: bills, charges, refunds
        "train": (
            "I was charged twice for my {item}.",
            "Why does my bill say {amount} dollars?",
            "Please refund the {amount} dollars for the {item}.",
            "The invoice for the {item} shows the wrong total.",
            "You took {amount} dollars from my card without asking.",
            "My refund of {amount} dollars has not arrived.",
            "Can I pay for the {item} in instalments?",
            "There is a fee of {amount} dollars on my statement that I do not know.",
            "The discount was not applied when I paid for the {item}.",
        ),
        "test": (
            "I need my money back, {amount} dollars, for the {item}.",
            "An unknown payment of {amount} dollars is on my card statement.",
            "The amount on the invoice should be {amount} dollars, not more.",
            "You billed me two times for one {item}.",
        ),
    },
    "K2": {  # delivery: where is it, late, wrong address
        "train": (
            "Where is my {item}? It should have come on {day}.",
            "The courier left the {item} at the wrong address.",
            "My parcel has been stuck in {city} since {day}.",
            "Can you deliver the {item} on {day} instead?",
            "The tracking number for my {item} does not work.",
            "My order was shipped to {city}, but I live elsewhere.",
            "The delivery of the {item} is {number} days late.",
            "Nobody rang the bell, and the driver took the {item} away again.",
            "When will the {item} be shipped to {city}?",
        ),
        "test": (
            "My {item} still has not been delivered to {city}.",
            "The parcel with the {item} was due on {day} and never came.",
            "I want the courier to bring the {item} to another address in {city}.",
            "Tracking says that my package is still in {city}.",
        ),
    },
    "X9": {  # access: passwords, sign-in, accounts
        "train": (
            "I forgot my password.",
            "I cannot sign in from {city} since {day}.",
            "Your site says that my account is locked since {day}.",
            "How do I change the email of my account when I move to {city}?",
            "The code to log in came {number} minutes too late.",
            "Someone in {city} logged in to my account.",
            "Please reset my password, I have tried {number} times.",
            "My user name is not recognised any more.",
            "I want to delete my account and my profile by {day}.",
        ),
        "test": (
            "Since {day} the login page rejects my password.",
            "My account was blocked after {number} wrong passwords.",
            "A stranger from {city} got into my account on {day}.",
            "I need a new password, the old one I used in {city} is gone.",
        ),
    },
    "M4": {  # defects: broken, damaged, does not work
        "train": (
            "The {item} arrived broken.",
            "My {item} stopped working after {number} days.",
            "There is a crack in the {item}.",
            "The {item} makes a strange noise and smells of smoke.",
            "One part of the {item} is missing a screw.",
            "The {item} does not turn on any more.",
            "The {item} leaks since {day}.",
            "After {number} weeks the handle of the {item} fell off.",
            "The {item} gets far too hot when I use it.",
        ),
        "test": (
            "My {item} broke on {day}.",
            "The {item} is damaged and has a crack on one side.",
            "Since {day} the {item} will not turn on.",
            "The {item} fell apart after only {number} days of use.",
        ),
    },
    "T1": {  # advice before buying
        "train": (
            "Which {item} is best for a small flat?",
            "Does the {item} come in {colour}?",
            "How heavy is the {item}?",
            "Is the {colour} {item} good for children?",
            "What is the difference between the two kinds of {item}?",
            "Do you sell a {item} that fits in a car?",
            "Will you have the {colour} {item} in stock again?",
            "Can you recommend a {item} for a beginner?",
            "Is the {item} made of wood or of metal?",
        ),
        "test": (
            "Do you also have the {item} in {colour}?",
            "What size is the {colour} {item}?",
            "Which {item} would you recommend for an old lady?",
            "I would like to know if the {item} is made of steel.",
        ),
    },
    "B8": {  # work and press
        "train": (
            "Do you have any open jobs in {city}?",
            "I sent my application {number} weeks ago.",
            "I am a journalist and would like an interview in {city} on {day}.",
            "Can students do an internship with you in {city}?",
            "Who can I talk to about a career in your {city} team?",
            "Our newspaper in {city} is writing about your company.",
            "I would like to work for you as a driver in {city}.",
            "Is the job of shop assistant in {city} still free?",
            "Please send your press photos by {day}.",
        ),
        "test": (
            "Are you hiring people in {city}?",
            "I want to apply for the job in {city} before {day}.",
            "I write for a magazine and have {number} questions for your boss.",
            "Did you receive my application for the internship in {city}?",
        ),
    },
}

FEELINGS = ("glad", "upset", "torn")

REVIEWS = {
    "glad": {
        "train": (
            "The {item} is {good}.",
            "I love this {item}, it works so well.",
            "Best {item} that I ever had, simply {good}.",
            "My new {item} is {good} and came quickly.",
            "I would buy the {colour} {item} again at once.",
            "What a {good} {item}! My friends want one too.",
            "After {number} weeks the {item} is still {good}.",
            "The {item} does all I hoped for and more.",
        ),
        "test": (
            "I am very happy with my {colour} {item}.",
            "This {item} is worth every cent, really {good}.",
            "For {number} months now, not one problem with this {good} {item}.",
            "Everyone in our house enjoys the {good} {item}.",
        ),
    },
    "upset": {
        "train": (
            "The {item} is {bad}.",
            "I hate this {item}, it never works.",
            "Worst {item} that I ever had, simply {bad}.",
            "My new {item} is {bad} and came late.",
            "I would never buy the {colour} {item} again.",
            "What a {bad} {item}! I want my money back.",
            "After {number} weeks the {item} was already {bad}.",
            "The {item} does nothing that was promised.",
        ),
        "test": (
            "I am very angry about my {colour} {item}.",
            "This {item} is a waste of money, really {bad}.",
            "For {number} months now, one problem after another with this {bad} {item}.",
            "Nobody in our house wants to use the {bad} {item}.",
        ),
    },
    "torn": {
        "train": (
            "The {item} looks {good}, but it feels {bad}.",
            "I love the colour of this {item}, but it never works for long.",
            "Half of the {item} is {good}, the other half is {bad}.",
            "The {item} is {good}, yet the manual is {bad}.",
            "A {bad} handle on a {good} {item}.",
            "At first the {item} was {good}, after {number} weeks it was {bad}.",
            "The {colour} {item} is {bad} to clean, but {good} to use.",
            "Some days my {item} is {good}, some days it is {bad}.",
        ),
        "test": (
            "Although the {item} is {good}, I find its price {bad}.",
            "The {item} itself is {good}; the {colour} paint on it is {bad}.",
            "A {good} idea, but a {bad} {item}.",
            "I like how {good} the {item} is and dislike how {bad} it sounds.",
        ),
    },
}

GOOD = {
    "train": ("great", "wonderful", "excellent", "lovely", "perfect", "fine", "superb", "nice"),
    "test": ("fantastic", "brilliant", "amazing", "good"),
}
BAD = {
    "train": ("terrible", "useless", "awful", "poor", "ugly", "broken", "cheap", "dreadful"),
    "test": ("horrible", "bad", "rotten", "disappointing"),
}

DATES = {  # y: year, m: month's name, d: day, o: ordinal day, w: weekday
    "train": (
        "{d} {m} {y}",
        "{m} {d}, {y}",
        "the {o} of {m} {y}",
        "{o} of {m}, {y}",
        "{m} the {o}, {y}",
        "{d}. {m} {y}",
        "{w}, {d} {m} {y}",
        "day {d} of {m} {y}",
        "in {y}, on the {o} of {m}",
        "{y}, {m} {d}",
    ),
    "test": (
        "{w} the {o} of {m}, {y}",
        "{w}, {m} {d}, {y}",
        "{m} {o} {y}",
        "on {d} {m}, in the year {y}",
        "{y}, the {o} of {m}",
    ),
}

ORDERS = {  # n: how many, c: colour, g: goods
    "train": (
        "Please send {n} {c} {g} to {city}.",
        "I need {n} {g}, {c} ones.",
        "Can I have {n} {c} {g} by {day}?",
        "{n} {g} in {c}, please.",
        "We are out of {g}: bring us {n} {c} ones.",
        "For {day} we want {c} {g}, {n} of them.",
        "Our shop in {city} orders {n} {c} {g}.",
        "Put {n} {c} {g} on my list.",
        "The {g} should be {c}, and we need {n}.",
        "Make it {c} {g}, {n} in all.",
    ),
    "test": (
        "Could you deliver {n} {c} {g} on {day}?",
        "My order: {g}, {c}, {n} pieces.",
        "I would like to buy {n} of your {c} {g}.",
        "If you have {c} {g}, I take {n}.",
        "We in {city} are waiting for {n} {g} in {c}.",
    ),
}

ITEMS = (
    *("lamp", "kettle", "radio", "chair", "camera", "printer", "heater", "toaster", "guitar", "tent", "bicycle"),
    *("blender", "clock", "phone", "backpack", "desk", "fan", "iron", "drill", "keyboard", "mirror", "scooter"),
)
GOODS = (
    *("cups", "hats", "pens", "boxes", "towels", "plates", "candles", "shirts", "bottles", "baskets", "folders"),
    *("gloves", "pillows", "ropes", "buckets", "scarves", "bowls", "stamps", "ribbons", "mugs", "socks", "bags"),
)
COLOURS = ("red", "blue", "green", "black", "white", "yellow", "brown", "pink", "grey", "orange")
CITIES = ("Lyon", "Oslo", "Turin", "Bergen", "Porto", "Leeds", "Basel", "Gdansk", "Cork", "Graz", "Malmo", "Ghent")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August"),
    *("September", "October", "November", "December"),
)
NUMBERS = (
    *("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen"),
    *("fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
