"""What the bench's own tasks are made of; training and test share no name and no template."""

CURRENCIES = {
    "euros": "EUR",
    "pounds": "GBP",
    "dollars": "USD",
    "francs": "CHF",
    "crowns": "SEK",
    "rupees": "INR",
    "pesos": "MXN",
    "rand": "ZAR",
}
PRICES = {
    "train": (
        "{units} {currency} and {cents} cents",
        "{units} {currency} {cents}",
        "{units} {currency}, {cents} cents",
        "just {units} {currency}",
        "it costs {units} {currency} and {cents} cents",
        "the price is {units} {currency}",
    ),
    "test": (
        "{units} {currency} with {cents} cents",
        "for {units} {currency} {cents}",
        "I paid {units} {currency}",
        "{units} {currency} plus {cents} cents",
    ),
}
UP_TO_NINETEEN = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")

LOGINS = {
    "train": (
        *("{first} {last}", "{last}, {first}", "Ms {first} {last}", "{first} {middle}. {last}"),
        *("{last}, {first} {middle}.", "the teacher {first} {last}", "{last}, Mr {first}"),
    ),
    "test": ("Dr {first} {last}", "{last}, Dr {first}", "our colleague {first} {last}"),
}
FIRST_NAMES = {
    "train": (
        *("Maria", "Peter", "Anna", "Lucas", "Emma", "David", "Sofia", "James", "Julia", "Oscar", "Clara", "Felix"),
        *("Nora", "Victor", "Helen", "Bruno", "Alice", "Simon", "Rosa", "Martin", "Irene", "Thomas", "Lea", "Daniel"),
    ),
    "test": (
        *("Paula", "Robert", "Diana", "Hugo", "Sarah", "Leo", "Monica", "George", "Eva", "Frank", "Carmen", "Walter"),
        *("Judith", "Edward", "Teresa", "Kevin", "Barbara", "Noah", "Laura", "Ivan"),
    ),
}
LAST_NAMES = {
    "train": (
        *("Lopez", "Smith", "Keller", "Rossi", "Brown", "Novak", "Silva", "Jensen", "Moore", "Weber", "Costa", "Young"),
        *("Fischer", "Marsh", "Walker", "Duval", "Bauer", "Green", "Murphy", "Larsen", "Hughes", "Vidal", "Price"),
        *("Wagner", "Hill", "Romano", "Carter", "Berg", "Foster", "Meyer", "Adams", "Bell", "Conti", "Diaz", "Evans"),
        *("Fox", "Gomez", "Hansen", "Ibarra", "Jones", "Klein", "Lambert", "Mendez", "Nash", "Ortega", "Peters"),
        *("Quinn", "Ruiz", "Schwarz", "Torres", "Urban", "Vargas", "Winter", "Zimmer", "Baker", "Castro", "Dumont"),
        *("Ellis", "Franke", "Gruber", "Holm", "Jordan", "Kraft", "Leroy", "Marino", "Neumann", "Perez", "Ramos"),
        *("Sharp", "Thomsen", "Vega", "Wells", "Bishop", "Cruz", "Dean", "Fontana", "Graham", "Huber", "Lang"),
    ),
    "test": (
        *("Garcia", "Taylor", "Becker", "Bianchi", "White", "Horvat", "Santos", "Nielsen", "Cooper", "Schmidt"),
        *("Fernandez", "King", "Vogel", "Stone", "Parker", "Martin", "Hoffman", "Black", "Kelly", "Olsen"),
        *("Palmer", "Moreno", "Ward", "Lange", "Wood", "Ferrari", "Turner", "Lund", "Mason", "Krause"),
    ),
}
