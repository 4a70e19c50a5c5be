/** What the data provider of the demo knows: one customer's accounts and consent, in the shapes of FDX 6. */
import { accountId, consentId, customerId, resourceId, subscriptionId } from './sample-names.js'

const savingsId = '10002'
const dataRecipientParty = {
  name: 'Data Recipient Inc.',
  type: 'DATA_RECIPIENT',
  homeUri: 'https://data-recipient.example',
  logoUri: 'https://data-recipient.example/logo.png',
  registry: 'PRIVATE',
  registeredEntityName: 'Data Recipient Inc.',
  registeredEntityId: 'data-recipient',
}

const checking = {
  accountCategory: 'DEPOSIT_ACCOUNT',
  accountId,
  accountType: 'CHECKING',
  accountNumberDisplay: '*****4821',
  productName: 'Everyday Checking',
  nickname: 'Household',
  status: 'OPEN',
  currency: { currencyCode: 'USD' },
  balanceType: 'ASSET',
  balanceAsOf: '2024-11-29T14:00:00.000Z',
  currentBalance: 2381.47,
  availableBalance: 2281.47,
}

const savings = {
  accountCategory: 'DEPOSIT_ACCOUNT',
  accountId: savingsId,
  accountType: 'SAVINGS',
  accountNumberDisplay: '*****7730',
  productName: 'Rainy Day Savings',
  status: 'OPEN',
  currency: { currencyCode: 'USD' },
  balanceType: 'ASSET',
  balanceAsOf: '2024-11-29T14:00:00.000Z',
  currentBalance: 12_050.0,
  availableBalance: 12_050.0,
  annualPercentageYield: 4.1,
}

export const accounts: ReadonlyMap<string, object> = new Map<string, object>([
  [accountId, checking],
  [savingsId, savings],
])

export const transactions = [
  {
    accountCategory: 'DEPOSIT_ACCOUNT',
    transactionId: 't-90001',
    postedTimestamp: '2024-11-27T08:15:00.000Z',
    transactionTimestamp: '2024-11-26T17:42:10.000Z',
    description: 'GREEN GROCER 0042 SPRINGFIELD',
    debitCreditMemo: 'DEBIT',
    transactionType: 'POSDEBIT',
    category: 'Groceries',
    status: 'POSTED',
    amount: 64.19,
  },
  {
    accountCategory: 'DEPOSIT_ACCOUNT',
    transactionId: 't-90002',
    postedTimestamp: '2024-11-28T06:00:00.000Z',
    transactionTimestamp: '2024-11-28T06:00:00.000Z',
    description: 'PAYROLL ACME CORPORATION',
    debitCreditMemo: 'CREDIT',
    transactionType: 'DIRECTDEPOSIT',
    status: 'POSTED',
    amount: 1840.0,
  },
]

export const contact = {
  holders: [
    { relationship: 'PRIMARY', name: { first: 'Jordan', last: 'Example' }, dateOfBirth: '1985-04-12' },
  ],
  addresses: [
    {
      type: 'HOME',
      line1: '12 Maple Street',
      city: 'Springfield',
      region: 'IL',
      postalCode: '62701',
      country: 'US',
    },
  ],
  emails: ['jordan@customer.example'],
  telephones: [{ type: 'CELL', country: '1', number: '2175550123' }],
}

export const paymentNetworks = [
  {
    bankId: '021000021',
    identifier: '3300004821',
    identifierType: 'ACCOUNT_NUMBER',
    type: 'US_ACH',
    transferIn: true,
    transferOut: true,
  },
  {
    bankId: '021000021',
    identifier: '3300004821',
    identifierType: 'ACCOUNT_NUMBER',
    type: 'US_RTP',
    transferIn: true,
    transferOut: false,
  },
]

export const assetTransferNetworks = [
  {
    identifier: '3300004821',
    identifierType: 'ACCOUNT_NUMBER',
    institutionName: 'Sample Bank',
    institutionId: '0226',
    type: 'US_ACATS',
    jointAccount: false,
  },
]

export type Revocation = { status: string; reason: string; initiator: string; updatedTime: string }

export type Consent = {
  id: string
  status: string
  updatedTime: string
  [field: string]: unknown
}

export const consents = new Map<string, Consent>([
  [
    consentId,
    {
      id: consentId,
      status: 'ACTIVE',
      parties: [
        dataRecipientParty,
        {
          name: 'Sample Bank',
          type: 'DATA_PROVIDER',
          homeUri: 'https://bank.example',
          registry: 'PRIVATE',
          registeredEntityName: 'Sample Bank',
          registeredEntityId: 'sample-bank',
        },
      ],
      createdTime: '2024-11-01T09:30:00.000Z',
      updatedTime: '2024-11-01T09:30:00.000Z',
      expirationTime: '2025-11-01T09:30:00.000Z',
      durationType: 'TIME_BOUND',
      durationPeriod: 365,
      lookbackPeriod: 60,
      resources: [
        { resourceType: 'CUSTOMER', resourceId: customerId, dataClusters: ['CUSTOMER_CONTACT'] },
        {
          resourceType: 'ACCOUNT',
          resourceId: accountId,
          dataClusters: ['ACCOUNT_DETAILED', 'TRANSACTIONS', 'PAYMENT_SUPPORT'],
        },
      ],
    },
  ],
])

export const revocations = new Map<string, Revocation[]>([[consentId, []]])

export const subscriptions = new Map<string, object>([
  [
    subscriptionId,
    {
      subscriptionId,
      type: 'CONSENT_REVOKED',
      category: 'CONSENT',
      callbackUrl: 'https://data-recipient.example/notifications',
      subscriber: dataRecipientParty,
      effectiveDate: '2024-11-01',
    },
  ],
])

/** A consent that waits for the customer's word, as the consent grant application sees it. */
export const externalResources = new Map<string, Record<string, unknown>>([
  [
    resourceId,
    {
      resourceId,
      status: 'PENDING',
      customerId,
      consentId,
      accounts: [accountId, savingsId],
      updatedTime: '2024-11-01T09:29:00.000Z',
    },
  ],
])
