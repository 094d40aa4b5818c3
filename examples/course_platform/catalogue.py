"""Define the courses of the fictional platform: topics, their subjects in the order of learning, and titles.

This module uses no random numbers. `generate` simulates which users take which courses, and when.
"""

from __future__ import annotations

import dataclasses

__all__ = ["AREAS", "LEVELS", "TOPICS", "Area", "Topic", "titles"]

LEVELS = ("beginner", "intermediate", "advanced")


@dataclasses.dataclass(frozen=True)
class Area:
    """The titles of an area's courses.

    Attributes:
        patterns: One pattern per course of a subject, and the level of the course. `{subject}` is the subject.
            `{with_}` and `{for_}` take turns through the lists of the topic.
    """

    patterns: tuple[tuple[str, int], ...]


@dataclasses.dataclass(frozen=True)
class Topic:
    """A topic of the platform. Each subject builds on the subject before it."""

    name: str
    area: str
    peak_month: int  # 1 to 12, when most users start the topic
    subjects: tuple[str, ...]
    with_: tuple[str, ...]  # tools, places or materials: "... with NumPy"
    for_: tuple[str, ...]  # audiences: "... for Analysts"


AREAS = {
    "technology": Area(
        (
            ("{subject} from Scratch", 0),
            ("{subject} for {for_}", 0),
            ("{subject} with {with_}: a Practical Introduction", 1),
            ("Hands-On {subject}: Ten Projects with {with_}", 1),
            ("Mastering {subject}", 2),
        )
    ),
    "business": Area(
        (
            ("Foundations of {subject}", 0),
            ("{subject} for {for_}", 0),
            ("{subject} in Practice: Cases from {with_}", 1),
            ("Strategic {subject}: Tools for {for_}", 1),
            ("{subject} Masterclass: Lessons from {with_}", 2),
        )
    ),
    "language": Area(
        (
            ("{subject}: First Steps", 0),
            ("{subject} for {for_}", 0),
            ("{subject} through {with_}", 1),
            ("Everyday {subject}: a Workshop", 1),
            ("{subject} to Near-Native Level", 2),
        )
    ),
    "craft": Area(
        (
            ("{subject}: a Beginner's Guide", 0),
            ("{subject} for {for_}", 0),
            ("{subject} with {with_}", 1),
            ("The {subject} Workshop: Thirty Exercises", 1),
            ("The Art of {subject}", 2),
        )
    ),
    "science": Area(
        (
            ("Introduction to {subject}", 0),
            ("{subject} for {for_}", 0),
            ("{subject}: Ideas and Applications in {with_}", 1),
            ("Problems in {subject}, Solved and Explained", 1),
            ("Advanced {subject}", 2),
        )
    ),
}


def titles(topic: Topic) -> list[tuple[str, int, int]]:
    """Return the courses of a topic as (title, position of the subject, level), sorted by subject, then pattern."""
    courses = []
    for step, subject in enumerate(topic.subjects):
        for pattern, level in AREAS[topic.area].patterns:
            turn = step + level  # gives neighboring titles of a subject different tools
            with_, for_ = topic.with_[turn % len(topic.with_)], topic.for_[turn % len(topic.for_)]
            title = pattern.format(subject=subject, with_=with_, for_=for_)
            courses.append((title[0].upper() + title[1:], step, level))
    return courses


def _topic(name: str, area: str, peak_month: int, subjects: str, with_: str, for_: str) -> Topic:
    lists = (tuple(text.split(", ")) for text in (subjects, with_, for_))
    return Topic(name, area, peak_month, *lists)


# Thirty topics of ten subjects. Each subject builds on the one before it.
TOPICS = (
    _topic(
        "Statistics",
        "technology",
        10,
        "Descriptive Statistics, Probability, Statistical Inference, Linear Regression, Experimental Design, "
        "Generalized Linear Models, Bayesian Statistics, Time Series Analysis, Survival Analysis, Causal Inference",
        "R, Python, Stan, Julia",
        "Analysts, Scientists, Product Teams",
    ),
    _topic(
        "Machine Learning",
        "technology",
        9,
        "Data Preparation, Supervised Learning, Decision Trees, Model Evaluation, Gradient Boosting, Neural Networks, "
        "Recommender Systems, Natural Language Processing, Computer Vision, Reinforcement Learning",
        "Python, scikit-learn, TensorFlow, PyTorch",
        "Developers, Statisticians, Engineers",
    ),
    _topic(
        "Python",
        "technology",
        1,
        "Python Basics, Functions and Modules, Data Structures, File Handling, Object-Oriented Python, Testing, "
        "Type Hints, Asynchronous Programming, Packaging, Performance Tuning",
        "the Standard Library, pytest, NumPy, FastAPI",
        "Absolute Beginners, Analysts, System Administrators",
    ),
    _topic(
        "Web Development",
        "technology",
        2,
        "HTML, CSS, JavaScript, Responsive Design, TypeScript, React, Web Accessibility, REST APIs, Web Security, "
        "Web Performance",
        "Modern Browsers, Node.js, Vite, Playwright",
        "Designers, Career Changers, Small Teams",
    ),
    _topic(
        "Data Engineering",
        "technology",
        5,
        "SQL, Relational Databases, Data Modeling, Data Warehousing, Batch Pipelines, Stream Processing, "
        "Workflow Orchestration, Data Quality, Lakehouse Architecture, Data Governance",
        "PostgreSQL, DuckDB, Apache Beam, Apache Airflow",
        "Analysts, Back-End Developers, Platform Teams",
    ),
    _topic(
        "Cloud and Operations",
        "technology",
        4,
        "Linux, Networking, Version Control, Containers, Continuous Integration, Infrastructure as Code, Kubernetes, "
        "Observability, Site Reliability, Cost Engineering",
        "Git, Docker, Terraform, Prometheus",
        "Developers, Administrators, Start-ups",
    ),
    _topic(
        "Cybersecurity",
        "technology",
        11,
        "Security Awareness, Cryptography, Network Security, Identity Management, Secure Coding, Threat Modeling, "
        "Penetration Testing, Incident Response, Digital Forensics, Zero Trust",
        "Wireshark, OpenSSL, Kali Linux, OWASP Guides",
        "Everyone, Developers, Managers",
    ),
    _topic(
        "Mobile Development",
        "technology",
        3,
        "App Prototyping, Kotlin, Swift, Mobile Interfaces, Local Storage, Push Notifications, Offline-First Apps, "
        "App Testing, App Store Release, Cross-Platform Development",
        "Android Studio, Xcode, Flutter, Firebase",
        "Web Developers, Students, Indie Makers",
    ),
    _topic(
        "Game Development",
        "technology",
        12,
        "Game Design, 2D Games, Game Physics, Level Design, 3D Games, Game Audio, Character Animation, "
        "Procedural Generation, Multiplayer Games, Game Publishing",
        "Godot, Unity, Blender, Unreal Engine",
        "Hobbyists, Artists, Programmers",
    ),
    _topic(
        "Embedded Systems",
        "technology",
        7,
        "Electronics, Soldering, Microcontrollers, C Programming, Sensors, Real-Time Systems, Wireless Protocols, "
        "Embedded Linux, Robotics, Edge Intelligence",
        "Arduino, Raspberry Pi, ESP32, FreeRTOS",
        "Makers, Teachers, Software People",
    ),
    _topic(
        "Entrepreneurship",
        "business",
        1,
        "Finding Ideas, Customer Interviews, Business Models, Minimum Viable Products, Pricing, Fundraising, "
        "First Hires, Growth, International Expansion, Exits",
        "Berlin Start-ups, Family Firms, Software Companies, Social Ventures",
        "First-Time Founders, Freelancers, Engineers",
    ),
    _topic(
        "Marketing",
        "business",
        9,
        "Brand Building, Copywriting, Content Marketing, Email Marketing, Search Engine Optimization, Social Media, "
        "Marketing Analytics, Conversion Optimization, Customer Retention, Attribution Modeling",
        "Retail, Software, Tourism, Publishing",
        "Small Businesses, Non-Profits, Marketers",
    ),
    _topic(
        "Finance",
        "business",
        3,
        "Bookkeeping, Financial Statements, Budgeting, Spreadsheet Modeling, Corporate Finance, Valuation, "
        "Portfolio Theory, Fixed Income, Derivatives, Risk Management",
        "Listed Companies, Start-ups, Banking, Energy",
        "Non-Financial Managers, Founders, Investors",
    ),
    _topic(
        "Leadership",
        "business",
        10,
        "Self-Management, Feedback, Delegation, Difficult Conversations, Team Building, Remote Teams, Negotiation, "
        "Change Management, Organizational Culture, Executive Decision-Making",
        "Hospitals, Engineering, Public Service, Sports",
        "New Managers, Team Leads, Directors",
    ),
    _topic(
        "Project Management",
        "business",
        6,
        "Project Planning, Estimation, Stakeholder Communication, Scrum, Kanban, Risk Registers, Procurement, "
        "Program Management, Portfolio Management, Project Recovery",
        "Construction, Software, Events, Research",
        "Coordinators, Engineers, Consultants",
    ),
    _topic(
        "Spanish",
        "language",
        5,
        "Spanish Pronunciation, Spanish Vocabulary, Spanish Grammar, Spanish Conversation, Spanish Listening, "
        "Spanish Past Tenses, Spanish Writing, the Spanish Subjunctive, Business Spanish, Spanish Literature",
        "Short Stories, Songs, Films, News",
        "Travelers, Busy People, Families",
    ),
    _topic(
        "Japanese",
        "language",
        4,
        "Hiragana and Katakana, Japanese Greetings, Japanese Particles, Basic Kanji, Japanese Verbs, "
        "Japanese Conversation, Polite Japanese, Intermediate Kanji, Business Japanese, Japanese Prose",
        "Manga, Anime, Folk Tales, Radio",
        "Travelers, Students, Gamers",
    ),
    _topic(
        "German",
        "language",
        8,
        "German Sounds, German Vocabulary, German Articles and Cases, German Conversation, German Word Order, "
        "German Listening, German Prepositions, German Writing, Business German, German Exams",
        "Podcasts, Fairy Tales, Films, Newspapers",
        "Newcomers, Nurses, Engineers",
    ),
    _topic(
        "English",
        "language",
        9,
        "English Pronunciation, English Tenses, Phrasal Verbs, English Conversation, English Listening, "
        "English Presentations, English Emails, Academic English, Business English, English Style",
        "Podcasts, Detective Stories, Sitcoms, Debates",
        "Job Seekers, Researchers, Travelers",
    ),
    _topic(
        "Photography",
        "craft",
        6,
        "Camera Basics, Composition, Natural Light, Portrait Photography, Landscape Photography, Street Photography, "
        "Flash Lighting, Photo Editing, Black-and-White Photography, Photo Books",
        "a Phone, Prime Lenses, Lightroom, Film",
        "Travelers, Parents, Bloggers",
    ),
    _topic(
        "Drawing and Painting",
        "craft",
        11,
        "Line Drawing, Perspective, Light and Shadow, Figure Drawing, Portrait Drawing, Color Mixing, Watercolor, "
        "Acrylic Painting, Oil Painting, Urban Sketching",
        "Pencil, Ink, Charcoal, a Tablet",
        "Late Starters, Teens, Illustrators",
    ),
    _topic(
        "Design",
        "craft",
        2,
        "Visual Hierarchy, Typography, Color Theory, Layout, Logo Design, Interface Design, Prototyping, "
        "Usability Testing, Design Systems, Motion Design",
        "Figma, Paper, Inkscape, After Effects",
        "Developers, Marketers, Product Managers",
    ),
    _topic(
        "Music",
        "craft",
        12,
        "Rhythm, Reading Music, Ear Training, Harmony, Piano, Guitar, Songwriting, Arranging, Mixing, Film Scoring",
        "a Keyboard, Your Voice, Ableton Live, a String Quartet",
        "Adults, Singers, Producers",
    ),
    _topic(
        "Cooking",
        "craft",
        12,
        "Knife Skills, Stocks and Sauces, Vegetables, Bread Baking, Pasta, Fish, Fermentation, Pastry, Chocolate, "
        "Menu Planning",
        "Ten Ingredients, Cast Iron, Seasonal Produce, Sourdough",
        "Students, Families, Home Cooks",
    ),
    _topic(
        "Writing",
        "craft",
        11,
        "Journaling, Sentence Craft, Storytelling, Character Development, Dialogue, Plotting, Creative Nonfiction, "
        "Poetry, Novel Writing, Self-Editing",
        "Daily Prompts, Reading Aloud, Index Cards, a Writing Group",
        "Beginners with No Time, Bloggers, Scientists",
    ),
    _topic(
        "Mathematics",
        "science",
        10,
        "Algebra, Trigonometry, Calculus, Linear Algebra, Multivariable Calculus, Discrete Mathematics, "
        "Differential Equations, Optimization, Real Analysis, Topology",
        "Computing, Physics, Economics, Cryptology",
        "Engineers, Programmers, Teachers",
    ),
    _topic(
        "Physics",
        "science",
        10,
        "Mechanics, Waves and Optics, Electricity, Thermodynamics, Electromagnetism, Special Relativity, "
        "Quantum Mechanics, Statistical Physics, Astrophysics, General Relativity",
        "Engineering, Astronomy, Medicine, Music",
        "Curious Minds, School Leavers, Engineers",
    ),
    _topic(
        "Biology",
        "science",
        4,
        "Cell Biology, Genetics, Human Anatomy, Physiology, Ecology, Evolution, Microbiology, Immunology, "
        "Neuroscience, Bioinformatics",
        "Medicine, Agriculture, Conservation, Biotechnology",
        "Nurses, Naturalists, Data Scientists",
    ),
    _topic(
        "Psychology",
        "science",
        1,
        "Learning and Memory, Motivation, Emotion, Social Psychology, Child Development, Personality, "
        "Behavioral Economics, Clinical Psychology, Psychometrics, Positive Psychology",
        "Schools, Work, Sports, Design",
        "Teachers, Coaches, Parents",
    ),
    _topic(
        "Climate and Environment",
        "science",
        7,
        "Weather, Oceans, Climate Science, Energy Systems, Biodiversity, Water Management, Circular Economy, "
        "Sustainable Cities, Carbon Accounting, Environmental Law",
        "Cities, Farming, Shipping, Forestry",
        "Citizens, Planners, Managers",
    ),
)
